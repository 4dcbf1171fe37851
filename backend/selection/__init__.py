"""Which processes: by pid, name, command line, user, cgroup, unit, pod, virtual machine, size."""
