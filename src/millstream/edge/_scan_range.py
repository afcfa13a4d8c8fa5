"""What a person allows `discover` to ask: hosts, ports and units. Nothing is ever added to it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from millstream.kernel import ConfigError, suggest
from millstream.sdk import DiscoveryInfo, Place

NETWORK_ADDRESSES_MAX = 1024  # a /22: a cell's or a hall's network, not a company's
HOSTS_COUNT_MAX = 1024
PORTS_COUNT_MAX = 16  # of one protocol
PLACES_COUNT_MAX = 4096
CODE = "MS-2100"
_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_\-]{0,62}\.?)*\Z", re.ASCII)
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Sought:
    """One protocol, on which ports and for which units."""

    type: str
    ports: tuple[int, ...]
    units: tuple[int, ...] = ()

    def places(self, host: str) -> list[Place]:
        """Where it is asked for at one host."""
        return [Place(host, port, self.units) for port in self.ports]


def parse_hosts(texts: Iterable[str]) -> tuple[str, ...]:
    """Every single host of names, addresses and networks, in order, once. Raises ConfigError."""
    found: dict[str, None] = {}
    for text in texts:
        for host in _network(text) if "/" in text else (_host(text),):
            found[host] = None
            if len(found) > HOSTS_COUNT_MAX:
                raise _refuse("too many hosts", f"at most {HOSTS_COUNT_MAX} in one run", "more")
    if not found:
        raise _refuse("no host is named", "hosts, addresses or networks, e.g. 10.0.4.0/26", "none")
    return tuple(found)


def _network(text: str) -> list[str]:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise _refuse(f"no network: {error}", "address/bits, e.g. 10.0.4.0/26", repr(text)) from error
    if network.num_addresses > NETWORK_ADDRESSES_MAX:
        raise _refuse("network is too large", f"at most {NETWORK_ADDRESSES_MAX} addresses (/22)", text)
    return [_host(str(address)) for address in network.hosts()]


def _host(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        if not _NAME.match(text) or text.replace(".", "").isdecimal():
            raise _refuse("no host", "a name, an address or a network such as 10.0.4.0/26", repr(text)) from None
        return text
    if address.is_multicast or address.is_unspecified or text == "255.255.255.255":
        raise _refuse("not the address of one host", "each host by itself, or a network", text)
    return str(address)


def parse_sought(text: str, known: Mapping[str, DiscoveryInfo]) -> Sought:
    """``protocol:ports`` or ``protocol:ports/units``, such as ``modbus:502,1502/1-8``. Raises ConfigError."""
    name, _, rest = text.partition(":")
    info = known.get(name)
    if info is None:
        near = suggest(name, known)
        step = f"did you mean {near!r}?" if near else None
        raise _refuse("no such protocol to look for", ", ".join(sorted(known)), repr(name), step)
    form = f"{name}:{info.port}" + ("" if info.units is None else "/1-8")
    ports_text, slash, units_text = rest.partition("/")
    if not ports_text:
        raise _refuse("no port is named", f"e.g. {form}", repr(text))
    ports = _numbers(ports_text, 1, 65535, form)
    if len(ports) > PORTS_COUNT_MAX:
        raise _refuse("too many ports", f"at most {PORTS_COUNT_MAX} of one protocol", str(len(ports)))
    if info.units is None:
        if slash:
            raise _refuse(f"{name} has no units", f"e.g. {form}", repr(text))
        return Sought(name, ports)
    if not units_text:
        raise _refuse("no unit is named", f"the numbers behind the address, e.g. {form}", repr(text))
    return Sought(name, ports, _numbers(units_text, *info.units, form))


def _numbers(text: str, low: int, high: int, form: str) -> tuple[int, ...]:
    """``1,4-8`` as numbers, in order, once."""
    found: dict[int, None] = {}
    for part in text.split(","):
        match = _RANGE.match(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if not low <= first <= last <= high:
            raise _refuse("no range of numbers", f"{low} to {high}, e.g. {form}", repr(part))
        found.update(dict.fromkeys(range(first, last + 1)))
    return tuple(found)


def plan(hosts: Sequence[str], sought: Sequence[Sought]) -> dict[str, list[tuple[str, Place]]]:
    """By host, what is asked for there and where. Raises ConfigError when that is too much for one run."""
    if not sought:
        raise _refuse("nothing to look for", "at least one protocol with its port, e.g. --look-for opcua:4840", "none")
    types = [entry.type for entry in sought]
    if len(set(types)) < len(types):
        raise _refuse("a protocol is named twice", "all its ports in one place, e.g. opcua:4840,4841", ", ".join(types))
    count = len(hosts) * sum(len(entry.ports) for entry in sought)
    if count > PLACES_COUNT_MAX:
        raise _refuse("range is too large", f"at most {PLACES_COUNT_MAX} ports of hosts in one run", str(count))
    return {host: [(entry.type, place) for entry in sought for place in entry.places(host)] for host in hosts}


def _refuse(what: str, expected: str, got: str, next_step: str | None = None) -> ConfigError:
    return ConfigError(what, expected=expected, got=got, next_step=next_step, code=CODE)
