"""A 64-bit ARM on this machine: qemu, and a root with Debian's Python and locked wheels, without chroot or binfmt."""
