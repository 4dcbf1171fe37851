"""Scenarios at random: a machine with files, shared and huge memory and cpusets, and what happens to it."""

from __future__ import annotations

import random
from typing import Any

import yaml

Item = dict[str, Any]
_PAGE_SIZES = {"4KiB": 4096, "64KiB": 65536, "2MiB": 2 << 20}
_PATCHES = ["remove_from_swap", "node_sets", "buffer_migrate", "direct_migrate"]
_CALLS = [
    *["touch"] * 5,
    *["migrate_pages"] * 5,
    "move_pages",
    "mbind",
    "dontneed",
    "pin",
    "fork",
    "mlock",
    "munlock",
    "ksm",
    "exit",
    "read",
    "write",
    "write",
    "fsync",
    "msync",
    "truncate",
    "truncate",
    "unlink",
    "swapoff",
    "offline",
    "online",
    "bad_page",
    "cpuset",
    "attach",
    "schedule",
    "set_mempolicy",
]


class Dice:
    """The choices of one scenario."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.profile = self.rng.choice(["linux-6", "direct-v8", "direct-v8", "swap-2.6.15"])
        self.size = self.rng.choice(["4KiB", "4KiB", "4KiB", "64KiB", "2MiB"])
        self.page = _PAGE_SIZES[self.size]
        self.count = self.rng.choice([2, 3, 4])
        self.cpus: list[int] = []
        self.regions: dict[str, dict[str, int]] = {}

    def some(self, share: float) -> bool:
        return self.rng.random() < share

    def on(self) -> str:
        return self.rng.choice(["on", "off"])

    def nodes(self) -> str:
        return ",".join(map(str, sorted(self.rng.sample(range(self.count), self.rng.randrange(1, self.count)))))

    def policy(self) -> str:
        return self.rng.choice(["local", f"bind:{self.nodes()}", f"interleave:{self.nodes()}", "prefer:0"])

    def machine(self) -> Item:
        pages = self.rng.choice([96, 200, 700] if self.page > 4096 else [700, 1400])
        nodes: list[Item] = []
        for node in range(self.count):
            nodes.append({"id": node, "memory": pages * self.page})
            if node < 2 or self.some(0.7):
                nodes[-1]["cpus"] = f"{2 * node}-{2 * node + 1}"
                self.cpus += [2 * node, 2 * node + 1]
        out: Item = {
            "profile": self.profile, "page_size": self.size, "nodes": nodes, "seed": self.rng.randrange(1000),
            "swap": self.rng.choice([0, 20, 200]) * self.page, "batch": self.rng.choice([1, 3, 64, 512]),
        }  # fmt: skip
        if self.profile == "direct-v8" and self.some(0.4):
            out["patches"] = dict.fromkeys(self.rng.sample(_PATCHES, self.rng.choice([1, 1, 2])), "off")
        if self.profile == "linux-6":
            out["cgroups"] = self.rng.choice(["v1", "v2"])
        return out

    def filesystem(self, name: str) -> Item:
        types = ["ext2", "ext3", "xfs", "nfs", "tmpfs"] + (["ext4"] if self.profile == "linux-6" else [])
        out: Item = {
            "name": name,
            "type": self.rng.choice(types),
            "files": [{"name": "f", "size": 20 * self.page}],
        }
        if out["type"] != "tmpfs":
            if self.some(0.3):
                out["migratepage"] = self.rng.choice(["buffer", "page", "none"])
            for key in ("releases", "buffers"):
                if self.some(0.3):
                    out[key] = self.on()
        return out

    def process(self, name: str, shared_with: str) -> Item:
        memory: list[Item] = [
            {"name": "a", "size": 40 * self.page, "on": {0: "50%", 1: "50%"}},
            {"name": "m0", "file": "d0/f", "on": {self.rng.randrange(2): "60%"}},
            {"name": "m1", "file": "d1/f", "private": self.on()},
            {"name": "s", "kind": "shared", "size": 20 * self.page},
        ]
        memory[3] |= {"shared_with": shared_with} if shared_with else {"on": {1: "100%"}}
        for region in memory[1:3]:
            if self.some(0.4):
                region["dirty"] = "on"
        if self.profile == "linux-6" and self.some(0.7):
            pages = 600 if self.page == 4096 else 40
            memory.append({"name": "h", "size": pages * self.page, "huge": "on", "touched": "off"})
        self.regions[name] = {one["name"]: one.get("size", 20 * self.page) // self.page for one in memory}
        cpu = self.rng.randrange(4) if shared_with else self.rng.choice(self.cpus)
        return {"name": name, "cpu": cpu, "threads": 2, "memory": memory, "uid": self.rng.choice([0, 0, 5])}

    def cpusets(self, version: str) -> list[Item]:
        out: list[Item] = [
            {"name": "c0", "mems": f"0-{self.count - 1}", "cpus": "0-3", "tasks": ["p1"]},
            {"name": "c1", "mems": "0"},
        ]
        for one in out if version == "v1" else ():
            one["memory_migrate"] = self.on()
            one.setdefault("cpus", "0-1")
        return out

    def arguments(self, call: str) -> Item:
        """Of one step."""
        rng = self.rng
        task = rng.choice(list(self.regions))
        region = rng.choice(list(self.regions[task]))
        first = rng.randrange(self.regions[task][region])
        pages = {
            "task": task,
            "region": region,
            "pages": f"{first}-{rng.randrange(first, self.regions[task][region])}",
        }
        file = {"file": rng.choice(["d0/f", "d1/f"])}
        of_task: Item = {"task": task}
        block: Item = {"node": rng.randrange(self.count), **({"block": 0} if self.some(0.5) else {})}
        written: Item = {"value": rng.choice([7, 8])} if self.some(0.3) else {"write": self.on()}
        special: dict[str, Item] = {
            "touch": {**pages, **written, "thread": rng.randrange(2)},
            "migrate_pages": {
                **of_task,
                "from": self.nodes(),
                "to": self.nodes(),
                **({"as": 5} if self.some(0.2) else {}),
            },
            "move_pages": {**pages, "node": rng.randrange(self.count), "all": self.on()},
            "mbind": {
                **pages,
                "policy": self.policy(),
                "move": rng.choice(["none", "own", "all"]),
                "strict": self.on(),
            },
            "pin": {**pages, "for": rng.choice(["10us", "1ms"])},
            "read": {**of_task, **file},
            "write": {**of_task, **file, "pages": f"{rng.randrange(5)}-{rng.randrange(5, 30)}"},
            "truncate": {**file, "size": rng.randrange(30) * self.page},
            "cpuset": {"cpuset": rng.choice(["c0", "c1"]), "mems": self.nodes()},
            "attach": {**of_task, "cpuset": rng.choice(["c0", "c1"])},
            "schedule": {**of_task, "cpu": rng.choice(self.cpus)},
            "set_mempolicy": {**of_task, "policy": self.policy()},
            "exit": of_task,
            "fsync": file,
            "unlink": file,
            "swapoff": {},
            "offline": block,
            "online": block,
        }
        return special.get(call, pages)

    def steps(self) -> list[Item]:
        out: list[Item] = []
        at = 0.0
        for _ in range(self.rng.choice([6, 12, 25])):
            at += self.rng.choice([0, 1e-6, 7e-6, 30e-6, 100e-6, 1e-3])
            call = self.rng.choice(_CALLS)
            if call != "fork":
                out.append({"at": f"{at:.9f}", call: self.arguments(call)})
            elif len(self.regions) < 4:
                parent, child = self.rng.choice(list(self.regions)), f"k{len(self.regions)}"
                self.regions[child] = self.regions[parent]
                out.append({"at": f"{at:.9f}", "fork": {"task": parent, "child": child}})
        return out


def random_scenario(seed: int) -> str:
    """The same for the same seed."""
    dice = Dice(seed)
    machine = dice.machine()
    document = {
        "machine": machine,
        "filesystems": [dice.filesystem("d0"), dice.filesystem("d1")],
        "processes": [dice.process("p0", ""), dice.process("p1", "p0")],
        "cpusets": dice.cpusets(machine.get("cgroups", "v1")),
        "steps": dice.steps(),
    }
    return yaml.safe_dump(document, default_flow_style=None, width=200)
