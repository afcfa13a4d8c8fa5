"""Ports that nobody chose."""

from __future__ import annotations

import socket

from millstream.kernel import bind_port, free_port


def outgoing() -> range:
    """What this machine gives to outgoing connections."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first, last = file.read().split()
    return range(int(first), int(last) + 1)


def test_a_free_port_is_none_that_an_outgoing_connection_may_get() -> None:
    assert not {free_port() for _ in range(100)} & set(outgoing())


def test_a_port_where_somebody_listens_is_not_given() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert bind_port("127.0.0.1", taken.getsockname()[1]) is None


def test_ports_that_are_held_together_differ() -> None:
    held = [bind_port("127.0.0.1") for _ in range(200)]
    assert len({probe.getsockname()[1] for probe in held if probe is not None}) == 200
    for probe in held:
        if probe is not None:
            probe.close()
