"""The page that `hangup report` writes: one HTML file that needs nothing beside itself.

The way is: alerts and counts -> `collected.py` (bounded, whatever comes) -> `content.py` (plain data, drawn by
`sequence.py`, `charts.py` and `network.py`) -> `render.py` (a template that escapes every text).
"""
