"""What hangup costs, and what other tracers cost at the same work: figures, not judgements. Nothing is asserted.

    python -m tests.bench all                         everything, as `make bench` does it: takes hours without KVM
    python -m tests.bench native [PART...]            on this machine, nothing loaded: throughput captures ...
    python -m tests.bench guest PART [--kernel NAME]  in a guest: start latency preempted wall cost
    python -m tests.bench report                      write docs/performance.md and its chart from the data file

What is measured goes into docs/performance.json (`--data FILE`: elsewhere), each row in the place of the one that was
measured before; the document is written from that alone.

| module | is |
|---|---|
| `load.c`, `loads.py` | the loads; the servers' is `server_load.py` |
| `tools.py` | the tracers: how each is started, and asked what it lost; `floor.py` has the empty ones |
| `rounds.py` | what is played under which tracer in which order |
| `start.py`, `latency.py`, `preempted.py`, `native.py`, `pipeline.py` | the other parts |
| `inside.py` | the command that runs in the guest, `guest.py` the one outside that boots it |
| `data.py` | the data file; `report.py`, `targets.py`, `chart.py` make the document of it |
"""
