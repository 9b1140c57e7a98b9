"""How every virtual machine of the tests is emulated."""

# Hardware virtualisation is not asked for: where /dev/kvm opens, it may still be one on which these kernels hang.
QEMU = ("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max")
# What a kernel is told. Where the machine is busy, its look whether the timer ticks would come to a wrong end.
WORDS = "console=ttyS0 quiet no_timer_check"
# No device that isn't named.
ALONE = ("-nodefaults", "-display", "none")
