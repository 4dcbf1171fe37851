"""An emulated NUMA machine inside the process: the kernel objects and paths of Direct Migration V8, and of Linux 6.

State is struct-of-arrays in numpy, time and concurrency are simpy processes, names are the kernel's. `machine.Machine`
holds the state; `abi.kernel.EmulatedKernel` implements the interface `backend.kernel.Kernel`.
"""
