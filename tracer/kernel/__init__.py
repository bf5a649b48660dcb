"""The live source: what BTF says, the compiled probes, how they are attached and what they wrote; it judges nothing."""
