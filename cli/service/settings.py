"""The settings of `hangup serve`: the one list of keys.

The configuration file, the flags, systemd/hangup.toml, docs/service.md and the manual take keys, types, defaults and
meanings from the fields of `Settings`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from hangup.cli.sinks.listen import parse_listen
from hangup.cli.users import uid_of
from hangup.tracer.errors import HangupError
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.filter import understood
from hangup.tracer.kernel.probes import ENDPOINTS, FEWEST_ENDPOINTS, MOST_ENDPOINTS, endpoints_of
from hangup.tracer.selection import IGNORED_PATHS
from hangup.tracer.statistics import MAX_NAMES
from hangup.tracer.verdicts import Kind

# No more renamed files, and no more names than are told apart at all.
_FEW = MAX_NAMES

PROBES = ("auto", "kprobe", "fentry")


@dataclass(frozen=True, slots=True)
class Type:
    """What values a key takes. `read` gets what TOML or the flag gave; ValueError says what is wrong with it."""

    name: str
    """As the documents call it."""
    read: Callable[[object], Any]
    metavar: str
    many: bool = False
    """Whether the flag may be given several times."""
    flag: bool = False
    """Whether the flag takes no value: --journal and --no-journal."""


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string")
    if any(not character.isprintable() for character in value):
        raise ValueError(f"{value!r} has a character that cannot be printed")
    return value


def _values(value: object) -> list[object] | tuple[object, ...]:
    return value if isinstance(value, list | tuple) else [value]


def _texts(value: object) -> tuple[str, ...]:
    texts = tuple(_text(one) for one in _values(value))
    if "" in texts:
        raise ValueError("an empty string matches nothing; leave the key out to select everything")
    return texts


def _filter(value: object) -> str:
    text = _text(value)
    if text:
        understood(text, Subject.CONNECTIONS)
    return text


def _uids(value: object) -> tuple[int, ...]:
    return tuple(uid_of(one) for one in _values(value))


def _verdicts(value: object) -> tuple[str, ...]:
    labels = _texts(value)
    known = [kind.label for kind in Kind if kind.is_alert or kind is Kind.LATENT]
    for label in labels:
        if label not in known:
            raise ValueError(f"{label!r} is no verdict that alerts; they are {', '.join(known)}")
    return labels


def _probes(value: object) -> str:
    if value not in PROBES:
        raise ValueError(f"{value!r} is not one of {', '.join(PROBES)}")
    return str(value)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is not true or false")
    return value


def _count(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 10**9:
        raise ValueError(f"{value!r} is not a number from 1 to a thousand million")
    return value


def _few(value: object) -> int:
    count = _count(value)
    if count > _FEW:
        raise ValueError(f"{value!r} is more than {_FEW}")
    return count


def _endpoints(value: object) -> int:
    try:
        return endpoints_of(_count(value))
    except ValueError:
        raise ValueError(f"{value!r} is not a number from {FEWEST_ENDPOINTS} to {MOST_ENDPOINTS}") from None


def _unit(value: object, units: dict[str, float], highest: float, wrong: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} {wrong}")
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)\s*([A-Za-z]*)", str(value).strip())
    if not found or found[2] not in units or not 0 < float(found[1]) * units[found[2]] <= highest:
        raise ValueError(f"{value!r} {wrong}")
    return float(found[1]) * units[found[2]]


def _seconds(value: object) -> float:
    units = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    seconds = _unit(value, units, 30 * 86400, "is not a time up to 30 days; write it like 30, 10s, 5m or 1h")
    if seconds < 1:
        raise ValueError(f"{value!r} is less than a second")
    return seconds


def _bytes(value: object) -> int:
    units = {"": 1.0, "K": 2.0**10, "M": 2.0**20, "G": 2.0**30}
    size = int(_unit(value, units, 2**40, "is no size of 64K to 1024G; write it like 512K, 10M or 1G"))
    if size < 2**16:
        raise ValueError(f"{value!r} is too small: one alert can take some tens of KiB; at least 64K")
    return size


def _file(value: object) -> str:
    path = _text(value)
    if path and not PurePosixPath(path).is_absolute():
        raise ValueError(f"{path!r} is not an absolute path")
    return path


def _listen(value: object) -> str:
    address = _text(value)
    if address:
        try:
            parse_listen(address)
        except HangupError as error:
            raise ValueError(str(error)) from None
    return address


FILTER = Type("filter", _filter, "FILTER")
GLOBS = Type("array of globs", _texts, "GLOB", many=True)
USERS = Type("array of users", _uids, "USER", many=True)
CGROUPS = Type("array of cgroups", _texts, "CGROUP", many=True)
VERDICTS = Type("array of verdicts", _verdicts, "VERDICT", many=True)
CHOICE = Type("string", _probes, "|".join(PROBES))
BOOLEAN = Type("boolean", _boolean, "", flag=True)
COUNT = Type("number", _count, "N")
FEW = Type("number", _few, "N")
ENDPOINT_COUNT = Type("number", _endpoints, "N")
TIME = Type("time", _seconds, "TIME")
SIZE = Type("size", _bytes, "SIZE")
FILE = Type("path", _file, "FILE")
ADDRESS = Type("address", _listen, "ADDRESS")


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration, of which the field of `Settings` and the flag have the name."""

    name: str
    table: str
    type: Type
    default: Any
    """As it stands in the file: what `type.read` takes."""
    meaning: str
    restart: bool
    """Whether a change of it takes effect only when the service is started again."""

    @property
    def flag(self) -> str:
        """The flag that has the same meaning and goes before the file."""
        return "--" + self.name.replace("_", "-")


def _key(table: str, kind: Type, default: Any, meaning: str, *, restart: bool = False) -> Any:
    metadata = {"table": table, "type": kind, "default": default, "meaning": meaning, "restart": restart}
    # Read when it is first needed: the tables of verdicts and addresses check defaults as they check everything.
    return field(default_factory=lambda: kind.read(default), metadata=metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """What `hangup serve` does. Times are in seconds, sizes in bytes."""

    uid: tuple[int, ...] = _key(
        "selection",
        USERS,
        [],
        "Only connections with a process of this real user (getuid(2)), a name or a number, at either end.",
        restart=True,
    )
    cgroup: tuple[str, ...] = _key(
        "selection",
        CGROUPS,
        [],
        "Only connections with a process in this cgroup or below it, at either end: a path below /sys/fs/cgroup, or a "
        "unit. It has to be there when the service starts; when it is made anew, it is found within a second.",
        restart=True,
    )
    comm: tuple[str, ...] = _key(
        "selection", GLOBS, [], "Only connections with a process of this name at either end.", restart=True
    )
    path: tuple[str, ...] = _key(
        "selection",
        GLOBS,
        [],
        "Only connections to this socket path; abstract names are written @name.",
        restart=True,
    )
    ignore_comm: tuple[str, ...] = _key(
        "selection", GLOBS, [], "Not connections with a process of this name at either end.", restart=True
    )
    ignore_path: tuple[str, ...] = _key(
        "selection",
        GLOBS,
        list(IGNORED_PATHS),
        "Not connections to this socket path; the default ones fail by design: systemd's own, broken by every "
        "systemctl and boot, and nscd's.",
        restart=True,
    )
    filter: str = _key(
        "selection",
        FILTER,
        "",
        "Only connections that pass this filter, as in sysdig; `hangup fields` lists what it can ask for. Empty: all.",
        restart=True,
    )
    probes: str = _key(
        "selection",
        CHOICE,
        "auto",
        "How to attach: auto takes fentry where it misses nothing, and kprobes elsewhere.",
        restart=True,
    )
    stream: bool = _key(
        "selection",
        BOOLEAN,
        False,
        "Record every operation, at several times the cost: then system calls, descriptors and start times of what was "
        "before a failure are known, too. Else the kernel keeps a history of each endpoint and tells only of what went "
        "wrong.",
        restart=True,
    )
    history: int = _key(
        "selection",
        ENDPOINT_COUNT,
        ENDPOINTS,
        "Of so many endpoints the kernel keeps a history, a KiB each, to tell what came before a failure: 1024 to "
        "1048576, rounded up to a power of two.",
        restart=True,
    )
    verdict: tuple[str, ...] = _key(
        "thresholds", VERDICTS, [], "Only these verdicts are alerts; without any, all but latent."
    )
    latent: bool = _key(
        "thresholds", BOOLEAN, False, "Latent hang-ups are alerts, too: some 64 in a second, or all with `stream`."
    )
    failures: int = _key(
        "thresholds",
        COUNT,
        1,
        "Only when a verdict on a pair of programs has come so often within an interval, it is an alert.",
    )
    burst: int = _key(
        "thresholds",
        COUNT,
        10,
        "At most so many alerts of a verdict on a pair of programs are told in an interval; the rest is counted.",
    )
    interval: float = _key("thresholds", TIME, "1m", "How long an interval is.")
    journal: bool = _key("sinks", BOOLEAN, True, "Alerts go to the systemd journal.")
    file: str = _key(
        "sinks",
        FILE,
        "",
        "Alerts with their stories are appended to this file, as JSON Lines; empty: to none. "
        "The service may write below /var/lib/hangup only.",
    )
    file_size: int = _key("sinks", SIZE, "10M", "A larger file is renamed to .1, and so on, and begun anew.")
    file_count: int = _key("sinks", FEW, 5, "So many renamed files are kept.")
    metrics: str = _key(
        "sinks",
        ADDRESS,
        "127.0.0.1:9754",
        "Where Prometheus finds the metrics: a loopback address and port, or unix:PATH; empty: nowhere.",
    )
    metrics_series: int = _key(
        "sinks",
        FEW,
        200,
        "How many clients, how many servers and how many paths have metrics of their own; the rest are `other`.",
        restart=True,
    )


@cache
def keys() -> tuple[Key, ...]:
    """Return all keys, in the order of the file."""
    return tuple(Key(name=one.name, **one.metadata) for one in fields(Settings))


def tables() -> dict[str, list[Key]]:
    """Return the keys by their table."""
    found: dict[str, list[Key]] = {}
    for key in keys():
        found.setdefault(key.table, []).append(key)
    return found
