"""Ports that nobody chose: for servers of which only we must know where they listen."""

from __future__ import annotations

import random
import socket

PORTS_QUIET = range(16_384, 32_768)  # below what Linux gives to outgoing connections (ip_local_port_range)
TRIES_COUNT_MAX = 64


def bind_port(host: str, port: int = 0) -> socket.socket | None:
    """A TCP socket bound to `port`, or to a free one when it is 0; None when that is taken.

    A free one is drawn from below the range of outgoing connections. From within it, the port of a server that is
    being restarted could be taken meanwhile by any client on the machine, even by one that keeps dialling that very
    port: TCP lets it reach itself. The caller closes the socket before the server binds.
    """
    if port:
        return _bound(host, port, is_again=True)
    draw = random.Random()
    for _ in range(TRIES_COUNT_MAX):
        found = _bound(host, draw.choice(PORTS_QUIET))
        if found is not None:
            return found
    return _bound(host, 0)


def free_port(host: str = "127.0.0.1") -> int:
    """One that nobody listened on a moment ago. Raises OSError when `host` is not ours."""
    found = bind_port(host)
    if found is None:
        raise OSError(f"no free port on {host}")
    with found:
        return int(found.getsockname()[1])


def _bound(host: str, port: int, *, is_again: bool = False) -> socket.socket | None:
    """`is_again`: what the last server left there (connections that linger) does not count."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    probe = socket.socket(family, socket.SOCK_STREAM)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(is_again))
        probe.bind((host, port))
    except OSError:
        probe.close()
        return None
    return probe
