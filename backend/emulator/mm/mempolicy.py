"""Memory policies: the node of a new page (mm/mempolicy.c)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from backend.kernel import Mode, ModeFlag
from backend.nodeset import NodeSet
from backend.plan.remap import node_remap

NAMES = {
    Mode.DEFAULT: "default", Mode.PREFERRED: "prefer", Mode.BIND: "bind", Mode.INTERLEAVE: "interleave",
    Mode.LOCAL: "local", Mode.PREFERRED_MANY: "prefer (many)",
    Mode.WEIGHTED_INTERLEAVE: "weighted interleave",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mempolicy:
    """The policy of a task or a VMA. `nodes`: the nodes in effect. `flags`: ModeFlag bits, which system calls pass in
    the mode argument. `asked`: the nodes the caller passed, kept only with a flag (w.user_nodemask)."""

    mode: Mode
    nodes: NodeSet = field(default_factory=NodeSet)
    flags: int = 0
    asked: NodeSet = field(default_factory=NodeSet)
    cpuset_mems: NodeSet = field(default_factory=NodeSet, compare=False)
    """The mems_allowed that `nodes` refers to (w.cpuset_mems_allowed). Empty: the one before the first rebind."""

    def __str__(self) -> str:
        """The notation of numa_maps (mpol_to_str())."""
        name = NAMES[self.mode]
        if self.flags:
            name += "=static" if self.flags & ModeFlag.STATIC_NODES else "=relative"
        return f"{name}:{self.nodes}" if self.nodes else name

    def nodemask(self) -> frozenset[int] | None:
        """Nodes that allocations are restricted to; None for all nodes (policy_nodemask())."""
        return frozenset(self.nodes) if self.mode == Mode.BIND else None

    def preferred(self, here: int) -> int:
        """The node tried first for a thread on node `here` (policy_node()). Not for interleaving, see
        `interleave_nodes`."""
        if self.mode == Mode.PREFERRED:
            return self.nodes.first()
        return here

    @property
    def interleaves(self) -> bool:
        return self.mode in (Mode.INTERLEAVE, Mode.WEIGHTED_INTERLEAVE)

    def turns(self, weights: Mapping[int, int]) -> NDArray[np.int64]:
        """The nodes in the order in which an interleaving policy takes them: each once, or as often in a row as its
        weight says (weighted_interleave_nid())."""
        ids = np.fromiter(self.nodes, np.int64, len(self.nodes))
        if self.mode == Mode.INTERLEAVE:
            return ids
        return np.repeat(ids, [weights.get(node, 1) for node in self.nodes])

    def interleave_nodes(
        self, offsets: NDArray[np.int64], weights: Mapping[int, int], cut: bool = True
    ) -> NDArray[np.int64]:
        """The node for each page offset: the (offset mod n)-th turn. `cut`: offset_il_node() makes an unsigned int of
        the offset (before 6.7), so its lower 32 bits count."""
        turns = self.turns(weights)
        return turns[(offsets & 0xFFFF_FFFF if cut else offsets) % len(turns)]


DEFAULT = Mempolicy(Mode.DEFAULT)


def create(mode: int, nodes: NodeSet, allowed: NodeSet, weighted: bool = False) -> Mempolicy | None:
    """mpol_new() and mpol_set_nodemask(): the policy for the arguments of a system call. None for MPOL_DEFAULT.

    `mode` includes its flags. `allowed`: the nodes the caller may use. `weighted`: this kernel has weighted
    interleave. Raises ValueError where the kernel returns
    EINVAL.
    """
    flags = mode & (ModeFlag.STATIC_NODES | ModeFlag.RELATIVE_NODES)
    number = mode & ~int(ModeFlag.STATIC_NODES | ModeFlag.RELATIVE_NODES)
    if number not in list(Mode) or flags == ModeFlag.STATIC_NODES | ModeFlag.RELATIVE_NODES:
        raise ValueError("mode")
    kind = Mode(number)
    if kind == Mode.WEIGHTED_INTERLEAVE and not weighted:
        raise ValueError("mode")
    # mpol_new(): MPOL_PREFERRED with an empty node mask means MPOL_LOCAL.
    if kind == Mode.PREFERRED and not nodes and not flags:
        kind = Mode.LOCAL
    if kind in (Mode.DEFAULT, Mode.LOCAL):
        # MPOL_DEFAULT takes either flag, and forgets it.
        if nodes or (flags and kind == Mode.LOCAL):
            raise ValueError("nodes")
        return None if kind == Mode.DEFAULT else Mempolicy(kind)
    usable = relative(nodes, allowed) if flags & ModeFlag.RELATIVE_NODES else nodes & allowed
    if not usable:
        raise ValueError("nodes")
    if kind == Mode.PREFERRED:
        usable = NodeSet([usable.first()])
    return Mempolicy(kind, usable, int(flags), nodes if flags else NodeSet(), allowed)


def relative(nodes: NodeSet, allowed: NodeSet) -> NodeSet:
    """mpol_relative_nodemask(): node n becomes the (n mod |allowed|)-th allowed node."""
    return NodeSet(allowed.nth(node % len(allowed)) for node in nodes) if allowed else NodeSet()


def rebind(policy: Mempolicy, old: NodeSet, new: NodeSet, preferred_too: bool = False) -> Mempolicy:
    """mpol_rebind_policy(): the policy after mems_allowed changed from `old` to `new`.

    Nodes without a flag keep their relative position. With STATIC_NODES the result is `asked` & `new`, with
    RELATIVE_NODES it is `asked` mapped into `new`. An empty result becomes all of `new`.

    Preferred nodes do not change in 6.1; with a flag 6.1 loses the nodes that were asked for, because
    mpol_rebind_preferred() overwrites one member of a union. In 2.6 preferred nodes follow (`preferred_too`)."""
    if policy.mode in (Mode.DEFAULT, Mode.LOCAL):
        return policy
    before = policy.cpuset_mems or old
    if not policy.flags and before == new:
        return policy
    if policy.mode in (Mode.PREFERRED, Mode.PREFERRED_MANY) and not preferred_too:
        return replace(policy, cpuset_mems=new, asked=new if policy.flags else policy.asked)
    if policy.flags & ModeFlag.STATIC_NODES:
        nodes = policy.asked & new
    elif policy.flags & ModeFlag.RELATIVE_NODES:
        nodes = relative(policy.asked, new)
    else:
        nodes = NodeSet(node_remap(node, before, new) for node in policy.nodes)
    return replace(policy, nodes=nodes or new, cpuset_mems=new)


_WORDS = {
    "default": Mode.DEFAULT, "local": Mode.LOCAL, "prefer": Mode.PREFERRED, "preferred": Mode.PREFERRED,
    "preferred-many": Mode.PREFERRED_MANY, "bind": Mode.BIND, "interleave": Mode.INTERLEAVE,
    "weighted-interleave": Mode.WEIGHTED_INTERLEAVE,
}  # fmt: skip
_FLAGS = {"": ModeFlag(0), "static": ModeFlag.STATIC_NODES, "relative": ModeFlag.RELATIVE_NODES}


def parse(text: str, nodes: NodeSet, weighted: bool = False) -> Mempolicy:
    """Parse a policy in numactl's notation: `default`, `local`, `prefer:1`, `preferred-many:0-1`, `bind:0-1`,
    `interleave:all`, with an optional flag as in `bind=static:0-1`. Raises UsageError."""
    from backend.errors import UsageError

    word, colon, ids = text.partition(":")
    name, equals, flag = word.strip().partition("=")
    mode = _WORDS.get(name)
    if mode is None:
        raise UsageError(f"'{text}' is not a policy", f"write one of {', '.join(_WORDS)}, with nodes like bind:0-1")
    if mode == Mode.WEIGHTED_INTERLEAVE and not weighted:
        raise UsageError("this kernel has no weighted interleave", "Linux has it since 6.9: the profile linux-7")
    if flag not in _FLAGS or (equals and not flag):
        raise UsageError(f"'{flag}' is not a flag of a policy", "write =static or =relative")
    if mode in (Mode.DEFAULT, Mode.LOCAL):
        if colon or equals:
            raise UsageError(f"the policy {name} takes no nodes")
        return Mempolicy(mode)
    chosen = NodeSet.parse(ids.strip(), nodes)
    if not chosen or (mode == Mode.PREFERRED and len(chosen) > 1):
        raise UsageError(
            f"the policy {name} needs {'one node' if mode == Mode.PREFERRED else 'nodes'}",
            f"the nodes here are {nodes}",
        )
    if flag:
        made = create(int(mode) | int(_FLAGS[flag]), chosen, nodes, weighted=True)
        assert made is not None
        return made
    return Mempolicy(mode, chosen)
