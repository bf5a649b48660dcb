"""Where the alerts of `hangup serve` go, and its counts: one module a sink."""
