"""``flow list|status|lag|pause|resume|replay|reset|run``."""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from millstream.cli._keys import who
from millstream.cli._node_log import NodeLog
from millstream.cli._options import DEFAULT, PASSWORD_VARIABLE, Json, Target, run
from millstream.cli._output import CHECK_FAILED, OK, duration, json_text, note, print_json, print_table
from millstream.kernel import ConfigError, NotFoundError, SystemClock

if TYPE_CHECKING:
    from millstream.config import EdgeIdentity, FlowEntry, HubIdentity
    from millstream.worker import WorkerSpec


def list_(*, json: Json = False, target: Target = DEFAULT) -> int:
    """List the flows of all nodes that can be seen from here.

    Examples:

        millstream flow list
        millstream flow list --json | jq '.nodes[].flows[].state'

    Parameters
    ----------
    json
        Print one object with every flow's whole report.
    """

    async def work() -> int:
        """One row a flow."""
        async with target.connect() as plant:
            nodes = await plant.flows()
        if json:
            print_json({"nodes": nodes})
            return OK
        rows = [
            (each["node"], f["name"], f["type"], f["state"], f["version"], len(f["partitions"]), f["partitions_count"],
             len(f["instances"]), f["rejected"])
            for each in nodes for f in each["flows"]
        ]  # fmt: skip
        columns = ("node", "flow", "type", "state", "version", "running", "partitions", "instances", "rejected")
        print_table(columns, rows, right=columns[4:])
        return OK

    return run(work())


def status(flow: str, /, *, json: Json = False, target: Target = DEFAULT) -> int:
    """Show one flow: its partitions, instances and workers.

    Examples:

        millstream flow status parts
        millstream flow status edge1/parts --json

    Parameters
    ----------
    flow
        Its name, or node/name.
    json
        Print one object.
    """

    async def work() -> int:
        """One row a partition, then one a worker."""
        async with target.connect() as plant:
            found = await plant.ask_flow(flow, "status")
        if json:
            print_json(found)
            return OK
        note(f"flow {found['name']}: {found['state']}, version {found['version']}, writes {found['output']}")
        columns = ("partition", "instance", "keys", "messages", "outputs", "late", "rejected", "broken", "commits")
        print_table(columns, [[p.get(c) for c in columns] for p in found["partitions"]], right=columns[2:])
        for hold in found.get("holds") or ():
            note(f"holds {hold['stream']} ({hold['fill']:.0%} full) from message {hold['from_seq']:,} on")
        workers = ("index", "state", "pid", "starts_count", "error")
        print_table(("worker", *workers[1:]), [[w.get(c) for c in workers] for w in found["workers"]])
        return OK

    return run(work())


def lag(flow: str, /, *, json: Json = False, target: Target = DEFAULT) -> int:
    """Show how far a flow is behind, in messages and seconds.

    Examples:

        millstream flow lag parts
        millstream flow lag parts --json | jq '[.partitions[].behind_messages] | add'

    Parameters
    ----------
    flow
        Its name, or node/name.
    json
        Print one object.
    """

    async def work() -> int:
        """One row a partition."""
        async with target.connect() as plant:
            found = await plant.ask_flow(flow, "lag")
        if json:
            print_json(found)
            return OK
        rows = [(p["partition"], p["behind_messages"], duration(p["behind_s"])) for p in found["partitions"]]
        print_table(("partition", "messages", "age"), rows, right=("messages", "age"))
        return OK

    return run(work())


def pause(flow: str, /, *, json: Json = False, target: Target = DEFAULT) -> int:
    """Stop a flow until `resume`, over restarts too.

    Its inputs wait in their streams.

    Examples:

        millstream flow pause parts
        millstream flow pause edge1/parts --json

    Parameters
    ----------
    flow
        Its name, or node/name.
    json
        Print one object.
    """
    return _decide(flow, "pause", {}, "paused", is_json=json, target=target)


def resume(flow: str, /, *, json: Json = False, target: Target = DEFAULT) -> int:
    """Let a paused flow go on where it was.

    Examples:

        millstream flow resume parts
        millstream flow resume edge1/parts --json

    Parameters
    ----------
    flow
        Its name, or node/name.
    json
        Print one object.
    """
    return _decide(flow, "resume", {}, "resumed", is_json=json, target=target)


def replay(
    flow: str, /, *, from_: Annotated[str, Parameter(name="--from")] = "beginning", json: Json = False,
    target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Work a flow's state out anew, and say nothing twice.

    A next version does it. The running version is ended first. The next one reads from the given point, silent up
    to where the old one ended, so nothing is said twice.

    Examples:

        millstream flow replay parts
        millstream flow replay parts --from 2026-01-31T06:00:00Z --json

    Parameters
    ----------
    flow
        Its name, or node/name.
    from_
        `beginning` (of what the streams still hold) or a time.
    json
        Print one object.
    """
    return _decide(flow, "replay", {"from": from_}, "replayed", is_json=json, target=target)


def reset(flow: str, /, *, json: Json = False, target: Target = DEFAULT) -> int:
    """Let a flow whose state is gone (MS-0707) begin anew.

    A next version begins with an empty state and takes only what comes from now on, so nothing is said twice. What it
    had said stays in the history. A flow that has its state is refused: `replay` is for that.

    Examples:

        millstream flow reset parts
        millstream flow reset edge1/parts --json

    Parameters
    ----------
    flow
        Its name, or node/name.
    json
        Print one object.
    """
    return _decide(flow, "reset", {}, "reset", is_json=json, target=target)


def _decide(flow: str, action: str, more: Mapping[str, Any], done: str, *, is_json: bool, target: Target) -> int:
    async def work() -> int:
        """Ask the node that has it."""
        async with target.connect() as plant:
            found = await plant.ask_flow(flow, action, who=who(), **more)
        if is_json:
            print_json(found)
        else:
            note(f"{done} {flow}: version {found.get('version', 1)}")
        return OK

    return run(work())


def run_flow(
    *, config: Annotated[Path, Parameter(name=["--config", "-c"])], flow: str, json: Json = False,
    target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Run one more instance of a node's flow, here.

    It takes a share of the partitions. On another machine name the node with --url and --user; the file (and the
    flow's code) must be the same there. A flow of a tenant is run on the hub's machine, with --tenant. Runs until
    SIGTERM or SIGINT; the others then take its share over.

    Examples:

        millstream flow run -c edge.yaml --flow parts
        millstream flow run -c edge.yaml --flow parts --url nats://edge1:4222 --user millstream --json

    Parameters
    ----------
    config
        The node's file.
    flow
        Name of the flow in it.
    json
        Log in JSON, one object a line, on standard error.
    """
    from millstream.config import HubConfig, InstalledConnectors, UpConfig, load_any

    loaded, findings = load_any(config, InstalledConnectors())
    if loaded is None:
        for finding in findings:
            note(json_text({"error": finding.as_dict()}) if json else str(finding))
        return CHECK_FAILED
    more = loaded.hub_flows if isinstance(loaded, UpConfig) else ()
    if isinstance(loaded, HubConfig) and target.tenant in loaded.tenants:
        more = loaded.tenants[target.tenant].flows
    entries = {e.name: e for e in (*loaded.flows, *more)}
    if flow not in entries:
        raise NotFoundError("no such flow in the file", where=str(config), got=repr(flow)[:60])
    identity: EdgeIdentity | HubIdentity
    if isinstance(loaded, HubConfig) or (isinstance(loaded, UpConfig) and flow not in {e.name for e in loaded.flows}):
        identity = loaded.hub
    else:
        identity = loaded.edge
    if target.url is None and target.node is None:
        target = Target(node=str(identity.data_dir), tenant=target.tenant, timeout=target.timeout)
    return run(_run_flow(identity.name, entries[flow], target, NodeLog(f"flow {flow}", is_json=json)))


async def _run_flow(node: str, entry: FlowEntry, target: Target, log: NodeLog) -> int:
    from millstream.worker import STUCK, Around, Instance, StepWatchdog, bound_memory, build_flow

    spec = await _spec(node, entry, target)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    watchdog = StepWatchdog(entry.step_timeout, entry.max_memory, Path(spec.scratch), lambda: os._exit(STUCK))
    flow = watchdog.guard(build_flow(entry))
    before = resource.getrlimit(resource.RLIMIT_AS)
    bound_memory(entry.max_memory)
    watchdog.start()
    try:
        await Instance(spec, entry, flow, Around(SystemClock(), log, lambda _: None)).run(stop)
    finally:
        watchdog.stop()
        resource.setrlimit(resource.RLIMIT_AS, before)
    return OK


async def _spec(node_name: str, entry: FlowEntry, target: Target) -> WorkerSpec:
    """What the node says of the flow, with this instance's own name."""
    from millstream.bus import node_tls
    from millstream.worker import WorkerSpec

    async with target.connect() as plant:
        found = await plant.ask_flow(f"{node_name}/{entry.name}", "status")
        node = plant.node
    password = os.environ.get(PASSWORD_VARIABLE) or node.password
    around = found.get("around")
    if not isinstance(around, dict):
        raise ConfigError("the node does not say where its flows run", where=node.nats_url)
    instance = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(3)}"
    return WorkerSpec(
        node=around["node"], place=around["place"], url=node.nats_url, user=node.user, password=password,
        creds_file=str(node.creds_file) if node.creds_file is not None else None, tls=node_tls(node.tls),
        inputs=list(around["inputs"]), output=around["output"], deadletters=around["deadletters"],
        scratch=str(Path(tempfile.gettempdir()) / f"millstream-{instance}"), entry={}, instance=instance,
        has_origins=bool(around["has_origins"]),
    )  # fmt: skip
