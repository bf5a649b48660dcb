"""The file source: records as they came, kept to be read elsewhere."""
