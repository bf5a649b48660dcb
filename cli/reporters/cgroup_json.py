"""Where a process belongs, as fields of JSON objects: the same of every process that is told of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hangup.cli.json_lines import Field
from hangup.tracer.host.cgroups import Cgroup


def cgroup_fields(
    cgroup: Callable[[Any], Cgroup | None],
) -> tuple[tuple[Field, Callable[[Any], str | None]], ...]:
    """Return the fields; cgroup: what finds the cgroup of the item they are of."""

    def of(attribute: str) -> Callable[[Any], str | None]:
        return lambda item: getattr(cgroup(item), attribute, None)

    return (
        (Field("cgroup", "string or null", "the path of its control group, escaped; null if not known"), of("path")),
        (
            Field(
                "unit",
                "string or null",
                "its systemd unit as systemctl spells it; in a container that runs systemd the container's own; null "
                "if it has none",
            ),
            of("unit"),
        ),
        (
            Field(
                "container",
                "string or null",
                "its container's name, escaped, or the first 12 digits of its id; null outside of containers",
            ),
            of("container"),
        ),
        (
            Field(
                "runtime",
                "string or null",
                "who runs the container (`docker`, `podman`, `containerd`, `cri-o`, `kubernetes`, `lxc`, "
                "`systemd-nspawn`, `machined` or another); null if the cgroup does not say",
            ),
            of("runtime"),
        ),
    )
