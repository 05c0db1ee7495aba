"""Virtual machines for devices, made here from nothing: a Debian guest, a libvirt of our own, a machine per worker."""
