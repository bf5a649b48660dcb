"""One module a way of showing."""
