"""The live source: what comes from the running kernel."""
