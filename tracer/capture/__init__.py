"""Capture files: records as they came, kept to be read elsewhere. docs/capture-format.md describes them."""
