"""The BPF programs as package data: C sources and the few kernel definitions they need."""
