"""The contract in Python: the layout of the records, which bpf/ defines; nothing here knows the kernel or this host."""
