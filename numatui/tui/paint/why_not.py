"""Why nothing is advised for a process, in two or three words for a column; the sentence stands below the table."""

from __future__ import annotations

from backend.advice.advice import ReasonCode

WHY_NOT: dict[ReasonCode, str] = {
    "ended": "has ended",
    "unreadable": "not readable",
    "permission": "not allowed",
    "near": "is near already",
    "small": "too little",
    "young": "still watched",
    "hops": "moves about",
    "idle": "idle",
    "pressure": "memory is short",
    "balancing": "kernel does it",
    "spread": "spread out",
    "policy": "its own policy",
    "interleave": "interleaved",
    "cpuset": "outside cpuset",
    "room": "no room",
    "shared": "shared",
    "slow-memory": "slower memory",
    "gain": "gains little",
    "payback": "pays too late",
    "cold": "not used",
    "heat": "use not known",
}
