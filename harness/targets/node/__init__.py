"""A real Kubernetes in namespaces of its own: pid, net, mount, ipc, uts and cgroup, for daemons and pods alike.

    owner       the test session; holds the write end of the reaper's standard input
    └─ reaper   outside; holds the folder's lock and the ports on 127.0.0.1; removes the cgroups at the end
       └─ cluster  process 1 of the first namespaces: the control plane, a bridge, and what forwards ports to the inside
          └─ machine n1, n2, n3   each with namespaces of its own: containerd, kubelet, kube-proxy, and the pods

Each arrow is a death: when the upper one ends, however that happens, the kernel ends everything below. Nothing of the
host's network, sysctls, mounts, `/run` or `/var` is changed. `docs/decisions/020-node.md` has the reasons.
"""
