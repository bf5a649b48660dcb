"""The version of hangup, readable without package metadata (a .deb in a private folder has none)."""

VERSION = "0.1.0"
