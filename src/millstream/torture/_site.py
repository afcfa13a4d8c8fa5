"""The tortured site: one edge with light barriers, one hub with a historian; as configuration files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millstream.kernel import free_port

SITE = "acme/plant1"
EDGE = "plant1"
TOPIC = "barrier"


def machine_names(count: int) -> list[str]:
    """As the light barriers name them."""
    return [f"m{i + 1}" for i in range(count)]


def tag(machine: str, name: str) -> str:
    """The path of a machine's tag."""
    return f"{SITE}/{machine}:{name}"


def free_ports(count: int) -> list[int]:
    """Ports that are free now, all different. They stay the same when a node is started again."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)


@dataclass(frozen=True, slots=True)
class SitePlan:
    """What the configuration files need. `leaf_port` and `mqtt_port` are where the nodes listen, `uplink_port` where
    the edge dials (a proxy); None: no uplink."""

    folder: Path
    machines: tuple[str, ...]
    mqtt_port: int
    secret: Path | None = None
    leaf_port: int = 0
    uplink_port: int | None = None
    integrity_bytes: str = "256MiB"
    connectors: Sequence[Mapping[str, Any]] = ()
    edge_flows: Sequence[Mapping[str, Any]] = ()
    hub_flows: Sequence[Mapping[str, Any]] = ()


def edge_document(plan: SitePlan) -> dict[str, Any]:
    """The edge: its own MQTT listener, from which a source can rewind."""
    document: dict[str, Any] = {
        "edge": {"name": EDGE, "path": SITE, "data_dir": str(plan.folder / "edge")},
        "server": {"mqtt_port": plan.mqtt_port},
        "streams": {"integrity": {"max_bytes": plan.integrity_bytes}},
        "connectors": [_barriers(plan.machines), *plan.connectors],
    }
    if plan.uplink_port is not None:
        document["uplink"] = {"url": f"nats://127.0.0.1:{plan.uplink_port}", "secret": {"file": str(plan.secret)}}
    if plan.edge_flows:
        document["flows"] = list(plan.edge_flows)
    return document


def _barriers(machines: Sequence[str]) -> dict[str, Any]:
    return {
        "name": "barriers",
        "type": "mqtt",
        "config": {"source": "stream", "timestamp_path": "$.time_ns"},
        "tags": [
            {"name": name, "path": machine, "address": f"{TOPIC}/{machine}#$.{member}"}
            for machine in machines
            for name, member in (("barrier", "n"), ("grams", "grams"))
        ],
    }


def hub_document(plan: SitePlan) -> dict[str, Any]:
    """The hub."""
    document: dict[str, Any] = {
        "hub": {"name": "hub", "data_dir": str(plan.folder / "hub")},
        "server": {"leaf_port": plan.leaf_port},
        "streams": {"max_bytes": "1GB"},
        "edges": [{"name": EDGE, "path": SITE, "secret": {"file": str(plan.secret)}}],
        "historian": {"max_memory": "128MB"},
    }
    if plan.hub_flows:
        document["flows"] = list(plan.hub_flows)
    return document


def barrier_arguments(port: int, ledger: Path, *, machines: int, rate: float, seed: int) -> list[str]:
    """The light barriers, behind ``python -m``."""
    return [
        "millstream.sim.light_barrier", "--port", str(port), "--ledger", str(ledger), "--machines", str(machines),
        "--rate", str(rate), "--seed", str(seed), "--topic", TOPIC, "--paused",
    ]  # fmt: skip
