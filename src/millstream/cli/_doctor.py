"""``doctor``: gather facts about a node and this machine, print what is wrong and what to do."""

from __future__ import annotations

import asyncio
import json as json_format
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from cyclopts import Parameter

from millstream.cli._options import DEFAULT, Json, Target, run
from millstream.cli._output import CHECK_FAILED, OK, note, print_json, print_text
from millstream.kernel import NotFoundError, PlantError, SystemClock
from millstream.protocols.diagnosis import Facts, Finding, from_error, judge

if TYPE_CHECKING:
    from millstream.client import NodeAddress, Plant
    from millstream.config import EdgeConfig, HubConfig, UpConfig, UplinkConfig

MONITOR_TIMEOUT_S = 3.0
MONITOR_BYTES_MAX = 4_000_000
GREETING_BYTES_MAX = 65_536
EXTRAS = {
    "opcua": ("asyncua",), "modbus": ("pymodbus",), "serial": ("serial",), "s7": ("snap7",), "mqtt": ("gmqtt",),
    "historian": ("duckdb",), "delta": ("deltalake",), "api": ("starlette", "uvicorn"), "top": ("textual",),
    "tls": ("cryptography",),
}  # fmt: skip
SIGNS = {"critical": "✗", "warning": "!", "info": "·"}


def doctor(
    *,
    config: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Find the usual faults and say what to do.

    Exit status 6 when one of them is critical.

    Examples:

        millstream doctor --node ./data
        millstream doctor -c edge.yaml --json | jq -r '.findings[].next_step'

    Parameters
    ----------
    config
        Also check this configuration file, its ports and its hub.
    json
        Print one object.
    """
    findings = run(_examine(config, target))
    is_critical = any(finding.severity == "critical" for finding in findings)
    if json:
        print_json({"ok": not is_critical, "findings": [finding.as_dict() for finding in findings]})
        return CHECK_FAILED if is_critical else OK
    for finding in findings:
        code = f" [{finding.code}]" if finding.code else ""
        print_text(f"{SIGNS[finding.severity]} {finding.check}: {finding.message}{code}")
        print_text(f"    {finding.next_step}")
    counts = [f"{n} {s}" for s in SIGNS if (n := sum(finding.severity == s for finding in findings))]
    note(", ".join(counts) if counts else "nothing is wrong")
    return CHECK_FAILED if is_critical else OK


async def _examine(config: Path | None, target: Target) -> list[Finding]:
    from millstream.client import find_node

    findings: list[Finding] = list(_extras())
    loaded: EdgeConfig | HubConfig | UpConfig | None = None
    if config is not None:
        loaded, found = _load(config)
        findings += found
    node = target.node or (None if target.url is not None else _data_dir(loaded))
    is_running = False
    try:
        address = find_node(node, url=target.url, user=target.user, tls=target.tls)
        is_running = await _running(address, target, node, findings)
    except NotFoundError as error:
        findings.append(from_error("node", error))
    except PlantError as error:
        findings.append(from_error("node", error))
    if loaded is not None and not is_running:
        findings += _ports(loaded)
    if loaded is not None:
        findings += await asyncio.to_thread(lambda: list(_hub_reachable(loaded)))
    order = {"critical": 0, "warning": 1, "info": 2}
    return sorted(findings, key=lambda finding: order[finding.severity])


async def _running(address: NodeAddress, target: Target, node: str | None, findings: list[Finding]) -> bool:
    """Ask a node that should run; True when it answers."""
    from dataclasses import replace

    try:
        async with replace(target, node=node).connect() as plant:
            facts = await _facts(plant, address)
    except PlantError as error:
        findings.append(from_error("node", error))
        return False
    if not facts.nodes:
        what = f"{address.nats_url}: the server answers, but no Millstream node behind it"
        findings.append(Finding("critical", "node", what, "start the node; if it just started, try again", "MS-0682"))
    findings += judge(facts)
    return True


async def _facts(plant: Plant, address: NodeAddress) -> Facts:
    clock = SystemClock()
    facts = Facts(clock.now_ns(), nodes=await plant.status())
    try:
        facts.streams = await plant.streams()
    except PlantError:
        facts.streams = ()  # a viewer's credentials may not ask: then there is nothing to judge
    facts.skews_s = await plant.clock_skews()
    if address.file is not None:
        facts.data_dir = str(address.file.parent)
        usage = shutil.disk_usage(address.file.parent)
        facts.disk = (usage.free, usage.total)
        facts.sync_always = await asyncio.to_thread(_sync_always, address.file)
    return facts


def _sync_always(node_file: Path) -> bool | None:
    """What the running server says of itself, through its monitor on loopback; None when it has none."""
    port = _json_of(node_file).get("monitor_port")
    if not isinstance(port, int):
        return None
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/jsz?config=true", timeout=MONITOR_TIMEOUT_S) as reply:
            page = json_format.loads(reply.read(MONITOR_BYTES_MAX))
    except (OSError, ValueError, urllib.error.URLError):
        return None
    return bool((page.get("config") or {}).get("sync_always"))


def _json_of(path: Path) -> Mapping[str, Any]:
    try:
        raw = json_format.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return raw if isinstance(raw, dict) else {}


def _extras() -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            yield Finding(
                "info",
                "extras",
                f"{', '.join(missing)} is not installed",
                f"run `pip install millstream[{extra}]` if needed",
            )


def _load(path: Path) -> tuple[EdgeConfig | HubConfig | UpConfig | None, list[Finding]]:
    from millstream.config import InstalledConnectors, check_tls, load_any

    loaded, found = load_any(path, InstalledConnectors())
    if loaded is not None:
        found = check_tls(path, loaded, SystemClock().now_ns() / 1e9)
    return loaded, [
        Finding("critical", "configuration", str(f), f.hint or f"run `millstream check {path}`", f.code) for f in found
    ]


def _data_dir(config: EdgeConfig | HubConfig | UpConfig | None) -> str | None:
    if config is None:
        return None
    section = config.edge if hasattr(config, "edge") else config.hub
    return str(section.data_dir)


def _ports(config: EdgeConfig | HubConfig | UpConfig) -> Iterator[Finding]:
    """Ports that the node would listen on and that another program has."""
    server = config.server
    for name in ("port", "leaf_port", "mqtt_port", "websocket_port", "monitor_port"):
        port = getattr(server, name, None)
        if port and getattr(server, "url", None) is None and _is_taken(server.host, port):
            yield Finding(
                "critical", "ports", f"server.{name}: {server.host}:{port} is taken by another program",
                "end that program, or choose another port (0: any free one)", "MS-0601",
            )  # fmt: skip


def _is_taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _hub_reachable(config: EdgeConfig | HubConfig | UpConfig) -> Iterator[Finding]:
    uplink = getattr(config, "uplink", None)
    if uplink is None:
        return
    parts = urlsplit(uplink.url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 7422), timeout=MONITOR_TIMEOUT_S) as link:
            link.settimeout(MONITOR_TIMEOUT_S)
            greeting = link.recv(5)
            if greeting == b"INFO " and uplink.tls is not None:
                yield from _handshake(link, uplink)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        yield Finding(
            "critical", "uplink", f"{uplink.url}: the hub cannot be reached: {reason}",
            "start the hub, check address, port and firewall; meanwhile data is kept at the edge", "MS-0200",
        )  # fmt: skip
        return
    if greeting != b"INFO ":
        yield Finding(
            "critical", "uplink", f"{uplink.url}: this is not the leaf port of a hub", "take the hub's `leaf_port`"
        )


def _handshake(link: socket.socket, uplink: UplinkConfig) -> Iterator[Finding]:
    """Whether who answers is the hub, as the edge's server will see it."""
    from millstream.bus import check_offer
    from millstream.sdk import client_context, tls_fault

    assert uplink.tls is not None
    try:
        with link.makefile("rb", buffering=0) as lines:  # no byte more than the line: the rest is for TLS
            check_offer(json_format.loads(lines.readline(GREETING_BYTES_MAX)), uplink.url)
        context = client_context(uplink.tls)
        context.wrap_socket(link, server_hostname=urlsplit(uplink.url).hostname).close()
    except PlantError as error:
        yield from_error("uplink", error)
    except (OSError, ValueError) as error:
        fault = tls_fault(error, uplink.url)
        if fault is None:
            fault = PlantError("the hub breaks off the handshake", where=uplink.url, got=str(error), code="MS-2509")
        yield from_error("uplink", fault)
