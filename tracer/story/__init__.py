"""From records to stories: which two sockets are a connection, whose turn it was, and what each end did.

Records come in, immutable stories (`hangup.tracer.story.story`) go out; nobody outside holds what changes.
"""
