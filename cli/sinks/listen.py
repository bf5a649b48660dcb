"""Where the metrics may be asked for: an address that only this host reaches."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from hangup.tracer.errors import HangupError

# sockaddr_un.sun_path less the NUL that ends it, unix(7).
_SUN_PATH_MAX = 107

_FORMS = "write it like 127.0.0.1:9754, [::1]:9754 or unix:/run/hangup/metrics.sock"
_IPV6_LOOPBACK = ipaddress.IPv6Address("::1")


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A loopback address and a port, 0: any."""

    host: str
    port: int

    @property
    def is_ipv6(self) -> bool:
        """Whether the host is an IPv6 address."""
        return ":" in self.host

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_ipv6 else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a Unix socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


def parse_listen(listen: str) -> TcpAddress | UnixAddress:
    """Return the address that a text names; HangupError if it is none, or one that other hosts reach."""
    if listen.startswith("unix:"):
        return _unix(listen)
    match = re.fullmatch(r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<plain>[^\[\]:]+)):(?P<port>\d{1,5})", listen)
    if not match or int(match["port"]) > 65535:
        raise HangupError(f"{listen!r} is no address to listen on", _FORMS)
    host = match["bracketed"] or match["plain"]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise HangupError(f"{host!r} is no IP address", _FORMS) from None
    if (address.version == 6) != bool(match["bracketed"]):
        raise HangupError(f"{listen!r} is no address to listen on", _FORMS)
    # An IPv4 address in IPv6 clothes is not one that anybody means.
    loopback = address == _IPV6_LOOPBACK if address.version == 6 else address.is_loopback
    if not loopback:
        raise HangupError(
            f"{host} is not a loopback address, and metrics tell who talks to whom",
            "listen on 127.0.0.1, [::1] or unix:PATH, and let a reverse proxy or the host's own metrics agent pass them"
            " on to a Prometheus elsewhere",
        )
    return TcpAddress(str(address), int(match["port"]))


def _unix(listen: str) -> UnixAddress:
    path = listen.removeprefix("unix:")
    if not PurePosixPath(path).is_absolute() or "\0" in path:
        raise HangupError(f"{listen!r} has no absolute path", _FORMS)
    if len(path.encode("utf-8", "surrogateescape")) > _SUN_PATH_MAX:
        raise HangupError(f"{listen!r} is longer than the path of a socket can be", f"keep to {_SUN_PATH_MAX} bytes")
    return UnixAddress(path)
