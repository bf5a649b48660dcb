"""The hangup command: one module a verb, one a way of showing."""
