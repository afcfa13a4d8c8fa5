"""What `discover` may ask is what was written, and of that a bounded part."""

from __future__ import annotations

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.edge._scan_range import NETWORK_ADDRESSES_MAX, Sought, parse_hosts, parse_sought, plan
from millstream.kernel import ConfigError
from millstream.sdk import DiscoveryInfo, Place

KNOWN = {"modbus": DiscoveryInfo("a read", 502, (0, 255)), "opcua": DiscoveryInfo("endpoints", 4840)}


def test_hosts_and_networks_become_single_hosts_in_order_and_once() -> None:
    assert parse_hosts(["plc7", "10.0.4.0/30", "10.0.4.2", "fd00::1"]) == ("plc7", "10.0.4.1", "10.0.4.2", "fd00::1")


@given(st.integers(0, 2**32 - 1), st.integers(22, 32))
def test_no_host_outside_the_written_network_is_asked(number: int, bits: int) -> None:
    network = ipaddress.ip_network((number, bits), strict=False)
    if network.is_multicast or network.network_address.is_unspecified:
        return
    try:
        hosts = parse_hosts([str(network)])
    except ConfigError:
        return  # it holds an address that is no host
    assert all(ipaddress.ip_address(host) in network for host in hosts)
    assert len(hosts) <= NETWORK_ADDRESSES_MAX
    if bits < 31:
        assert str(network.broadcast_address) not in hosts


@pytest.mark.parametrize(
    "text",
    ["10.0.0.0/21", "10.0.0.0/33", "0.0.0.0", "224.0.0.1", "255.255.255.255", "ff02::1", "::/0", "", "a b", "10.0.0",
     "http://plc", "-x", "plc;ls"],
)  # fmt: skip
def test_what_is_no_host_or_too_many_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_hosts([text])
    assert caught.value.code == "MS-2100"


def test_many_networks_together_are_bounded_too() -> None:
    with pytest.raises(ConfigError, match="too many hosts"):
        parse_hosts(["10.0.0.0/22", "10.1.0.0/22"])


def test_no_host_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="no host is named"):
        parse_hosts([])


@pytest.mark.parametrize(
    ("text", "sought"),
    [
        ("opcua:4840", Sought("opcua", (4840,))),
        ("opcua:4840-4842,48010", Sought("opcua", (4840, 4841, 4842, 48010))),
        ("modbus:502/1", Sought("modbus", (502,), (1,))),
        ("modbus:502,1502/1-3,255", Sought("modbus", (502, 1502), (1, 2, 3, 255))),
    ],
)
def test_a_protocol_is_named_with_its_ports_and_units(text: str, sought: Sought) -> None:
    assert parse_sought(text, KNOWN) == sought


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("opcua", "no port is named"),
        ("opcua:", "no port is named"),
        ("modbus:502", "no unit is named"),
        ("modbus:502/", "no unit is named"),
        ("opcua:4840/1", "has no units"),
        ("opcua:0", "no range"),
        ("opcua:65536", "no range"),
        ("opcua:9-8", "no range"),
        ("opcua:1-99999", "no range"),
        ("opcua:1-2000", "too many ports"),
        ("modbus:502/0-256", "no range"),
        ("modbus:502/x", "no range"),
        ("opcau:4840", "no such protocol"),
    ],
)
def test_a_protocol_without_its_range_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_sought(text, KNOWN)


@given(st.text(max_size=30))
def test_any_text_is_a_range_or_refused(text: str) -> None:
    for parse in (lambda: parse_hosts([text]), lambda: parse_sought(text, KNOWN)):
        with contextlib.suppress(ConfigError):
            parse()


def test_a_plan_is_by_host_and_bounded() -> None:
    sought = [Sought("opcua", (4840, 4841)), Sought("modbus", (502,), (1, 2))]
    assert plan(["a"], sought) == {
        "a": [("opcua", Place("a", 4840)), ("opcua", Place("a", 4841)), ("modbus", Place("a", 502, (1, 2)))]
    }
    with pytest.raises(ConfigError, match="too large"):
        plan([str(i) for i in range(1000)], [Sought("opcua", tuple(range(1, 6)))])
    with pytest.raises(ConfigError, match="nothing to look for"):
        plan(["a"], [])
    with pytest.raises(ConfigError, match="named twice"):
        plan(["a"], [Sought("opcua", (1,)), Sought("opcua", (2,))])
