"""The filter language, sysdig's: from a text to what decides on operations and connections."""
