"""``discover``: which devices answer in a range that the command line names."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from millstream.cli._options import Json, run
from millstream.cli._output import NOT_FOUND, OK, note, print_json, print_table, print_text, shown

if TYPE_CHECKING:
    from millstream.edge import Discoverer, Discovery, Found

CONNECTOR_CHARACTERS_MAX = 32  # so that the address behind the device's name is whole


def discover(
    *hosts: str,
    look_for: Annotated[list[str] | None, Parameter(negative="")] = None,
    rate: float = 20.0,
    concurrency: int = 16,
    timeout: float = 2.0,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    yaml: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Ask the hosts that you name which devices they are, and nobody else.

    Ask only where you may: devices and their owners notice. Nothing is asked that is not written here: hosts, networks
    of /22 or smaller, and each protocol with its ports. One connection a host at a time; no logging in, no writing.
    Exit status 3 when nothing was found.

    Examples:

        millstream discover 10.0.4.0/26 --look-for opcua:4840 --look-for ethernet_ip:44818
        millstream discover 10.0.4.17 --look-for modbus:502/1-16 --dry-run
        millstream discover plc7 --look-for opcua:4840,4841 --yaml > found.yaml

    Parameters
    ----------
    hosts
        Names, addresses, networks such as 10.0.4.0/26.
    look_for
        A protocol with its ports, and with its units where it has them: opcua:4840, modbus:502,1502/1-8. Repeat it.
    rate
        Connections and requests a second, all hosts together.
    concurrency
        Hosts at a time.
    timeout
        Longest wait for one answer, in seconds.
    dry_run
        Say what would be asked, and send nothing.
    yaml
        Print an edge file with one connector a device, for `millstream onboard`.
    json
        Print one object.
    """
    from millstream.config import InstalledConnectors
    from millstream.edge import Discoverer, Gentleness

    discoverer = Discoverer(hosts, look_for or (), InstalledConnectors(), Gentleness(rate, concurrency, timeout))
    if dry_run:
        return _show_plan(discoverer, is_json=json)
    result = run(discoverer.run())
    if json:
        print_json(_as_dict(result))
    elif yaml:
        print_text(edge_file(result.found).rstrip("\n"))
    elif result.found:
        rows = [(f.type, f.device.where, f.device.name, _facts(f)) for f in result.found]
        print_table(("type", "where", "name", "says"), rows)
    for type_name, where, error in result.odd:
        note(f"{where} answers, but not as {type_name}: {shown(error.what)} [{error.code}]")
    sent = ", ".join(f"{count} x {what}" for what, count in result.sent.items())
    note(f"{len(result.found)} found, hosts asked: {len(result.hosts)}, sent: {sent or 'nothing'}")
    return OK if result.found else NOT_FOUND


def _show_plan(discoverer: Discoverer, *, is_json: bool) -> int:
    places = [(name, str(place), place.units) for each in discoverer.plan.values() for name, place in each]
    if is_json:
        print_json({"ask": [{"type": name, "where": where, "units": list(units)} for name, where, units in places]})
    else:
        rows = [(name, where, _spans(units)) for name, where, units in places]
        print_table(("type", "where", "units"), rows)
    for name, info in discoverer.questions.items():
        note(f"{name}: {info.question}")
    note(f"hosts: {len(discoverer.plan)}, their ports: {len(places)}; nothing was sent")
    return OK


def _spans(units: tuple[int, ...]) -> str:
    return f"{len(units)}: {units[0]}..{units[-1]}" if len(units) > 3 else ", ".join(map(str, units))


def _facts(found: Found) -> str:
    return ", ".join(f"{name} {value}" for name, value in found.device.facts.items())


def _as_dict(result: Discovery) -> dict[str, Any]:
    return {
        "devices": [
            {
                "type": found.type,
                "where": found.device.where,
                "name": found.device.name,
                "facts": dict(found.device.facts),
                "config": dict(found.device.config),
            }
            for found in result.found
        ],
        "odd": [{"type": name, "where": where, "error": error.as_dict()} for name, where, error in result.odd],
        "hosts": len(result.hosts),
        "silent": result.silent_count,
        "sent": dict(result.sent),
    }


def edge_file(found: Iterable[Found]) -> str:
    """An edge file with one connector a device. Its edge's name and path are to be changed."""
    from millstream.edge import connector_name, snake_case

    lines = ["edge: {name: edge1, path: enterprise/site, data_dir: data}", "connectors:"]
    taken: set[str] = set()
    for each in found:
        where = snake_case(each.device.where)
        called = snake_case(each.device.name, max(1, CONNECTOR_CHARACTERS_MAX - len(where) - 1))
        name = connector_name(f"{called} {where}", taken)
        lines += [
            f"  - name: {name}",
            f"    type: {each.type}",
            f"    path: {name}",
            f"    config: {json_format.dumps(dict(each.device.config), ensure_ascii=False)}",
        ]
    return "\n".join(lines if taken else [lines[0], "connectors: []"]) + "\n"
