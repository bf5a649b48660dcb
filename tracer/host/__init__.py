"""What only this host knows of processes and sockets: /proc, cgroups, mounts, unix_diag."""
