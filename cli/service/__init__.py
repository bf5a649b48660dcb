"""What `hangup serve` is made of: its configuration, its main loop, and how it talks to systemd and the kernel."""
