"""``edge``, ``hub``, ``up``: run nodes until a signal."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from millstream import __file__ as millstream_file
from millstream import __version__
from millstream.cli._node_log import NodeLog
from millstream.cli._options import Json, run
from millstream.cli._output import CHECK_FAILED, OK, json_text, note, print_json, print_text
from millstream.kernel import calm_allocator, calm_collector, end_tasks

if TYPE_CHECKING:
    from millstream.api import ApiAddress, BrowserAccess
    from millstream.bus import NatsServer
    from millstream.config import ApiConfig, ClusterConfig, Finding, HubConfig, TlsConfig, UpConfig
    from millstream.edge import EdgeNode
    from millstream.hub import HubNode

LEFT_S = 5.0  # for what a node has left alone
ConfigFile = Annotated[Path, Parameter(name=["--config", "-c"])]


def edge(*, config: ConfigFile, check: Annotated[bool, Parameter(negative="")] = False, json: Json = False) -> int:
    """Run an edge node.

    It runs until SIGTERM or SIGINT, then closes its connectors, stores what they sent and stops its server. What runs
    is the version that the command `update` has chosen, else the installed one.

    Examples:

        millstream edge -c edge.yaml
        millstream edge -c edge.yaml --json 2>>edge.log
        millstream edge -c edge.yaml --check

    Parameters
    ----------
    config
        The edge file.
    check
        Say whether this version would start with the configuration and data that are there; change nothing.
    json
        Log in JSON, one object a line, on standard error.
    """
    from millstream.release import Launched, launch

    if check:
        return _check_edge(config, is_json=json)
    launched = launch(config, sys.argv[1:], __version__)
    if not isinstance(launched, Launched):
        return launched
    from millstream.config import InstalledConnectors, load_edge  # not before: the launcher stays small
    from millstream.edge import EdgeNode
    from millstream.flow.library import FLOW_TYPES

    loaded, findings = load_edge(config, InstalledConnectors(), FLOW_TYPES)
    if loaded is None:
        return _refuse(findings, is_json=json)
    log = NodeLog(loaded.edge.name, is_json=json)
    node = EdgeNode(loaded, log=log.line, folder=config.absolute().parent, launched=launched)
    signals: list[int] = []
    status = _serve(lambda stop: _run_edge(node, stop, log), on_signal=signals.append)
    return launched.restart() if node.wants_restart and not signals else status  # who is told to end, ends


def _check_edge(config: Path, *, is_json: bool) -> int:
    """Offline: what the edge's file, the configuration from the hub and the data mean to this version."""
    from millstream.config import InstalledConnectors, load_edge
    from millstream.edge import check_start
    from millstream.flow.library import FLOW_TYPES
    from millstream.release import DATA_FORMAT, READABLE_BY

    loaded, findings = load_edge(config, InstalledConnectors(), FLOW_TYPES)
    wrong = [str(finding) for finding in findings]
    if loaded is not None:
        wrong = run(check_start(loaded, config.absolute().parent))
    if is_json:
        about = {"version": __version__, "file": millstream_file, "findings": wrong}
        print_json({**about, "data_format": DATA_FORMAT, "readable_by": READABLE_BY})
    else:
        for text in wrong:
            note(text)
        print_text(f"millstream {__version__}: {'this does not start' if wrong else 'ok'}")
    return CHECK_FAILED if wrong else OK


def hub(*, config: ConfigFile, json: Json = False) -> int:
    """Run a hub.

    It runs until SIGTERM or SIGINT. Edges connect to its leaf port; `data_dir/secrets/edges/` has their passwords.

    Examples:

        millstream hub -c hub.yaml
        millstream hub -c hub.yaml --json 2>>hub.log

    Parameters
    ----------
    config
        The hub file.
    json
        Log in JSON, one object a line, on standard error.
    """
    from millstream.config import load_hub
    from millstream.flow.library import FLOW_TYPES

    loaded, findings = load_hub(config, FLOW_TYPES)
    if loaded is None:
        return _refuse(findings, is_json=json)
    return _serve(lambda stop: _run_hub(loaded, stop, NodeLog(loaded.hub.name, is_json=json)))


def up(*, config: ConfigFile, json: Json = False) -> int:
    """Run an edge and its hub on this machine.

    The uplink between the two is made by itself. Runs until SIGTERM or SIGINT.

    Examples:

        millstream up -c plant.yaml
        millstream up -c plant.yaml --json 2>>plant.log

    Parameters
    ----------
    config
        An edge file with a `hub` section.
    json
        Log in JSON, one object a line, on standard error.
    """
    from millstream.config import InstalledConnectors, load_up
    from millstream.flow.library import FLOW_TYPES

    loaded, findings = load_up(config, InstalledConnectors(), FLOW_TYPES)
    if loaded is None:
        return _refuse(findings, is_json=json)
    folder = config.absolute().parent
    return _serve(lambda stop: _run_up(loaded, stop, folder, is_json=json))


def _refuse(findings: Sequence[Finding], *, is_json: bool) -> int:
    for finding in findings:
        note(json_text({"error": finding.as_dict()}) if is_json else str(finding))
    return CHECK_FAILED


def _serve(
    work: Callable[[asyncio.Event], Coroutine[Any, Any, None]], on_signal: Callable[[int], None] = lambda _: None
) -> int:
    async def serve() -> list[str]:
        """Give the work an event that a signal sets. Which tasks did not let themselves be ended."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told, number, stop)
        await work(stop)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        return [task.get_name() for task in await end_tasks(others, LEFT_S)]

    def told(number: int, stop: asyncio.Event) -> None:
        """A person, or what supervises this process, wants it to end."""
        on_signal(number)
        stop.set()

    os.umask(0o077)  # what a node keeps is its user's own: samples and logs, not only passwords
    for chatty in ("asyncua", "pymodbus", "snap7", "gmqtt", "nats", "uvicorn"):
        # Their trouble reaches us as exceptions, which are told once.
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    calm_collector()
    calm_allocator()
    runner, left = asyncio.Runner(), list[str]()
    try:
        left = runner.run(serve())
    finally:
        if not left:
            runner.close()
    if left:  # closing the loop would wait for them for ever
        note(f"ended while these did not: {', '.join(left)}")
    return OK


async def _run_edge(node: EdgeNode, stop: asyncio.Event, log: NodeLog) -> None:
    if node.config.api is None:
        await node.run(stop)
    else:
        await _while(node.run(stop), _serve_site(node.config.api, node, log))


async def _serve_site(config: ApiConfig, node: EdgeNode, log: NodeLog) -> None:
    """The console of one site, from its own history: also while the hub is away."""
    from millstream.api import create_app, load_or_make_token, serve_api

    await node.started()
    token_file = Path(node.config.edge.data_dir) / "secrets" / "api.token"
    if node.config.cluster is not None:
        _share_token(token_file, node.config.cluster)
    app = create_app(
        lambda: node.historian, token=load_or_make_token(token_file), status=node.site_status,
        access=_browser_access(node.server), is_tls=node.server.client_tls is not None, role="viewer",
        site=node.config.edge.name,
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        serving = serve_api(app, host=config.host, port=config.port, certificate=_certificate(node))
        await _listen(serving, node, stack, log, token_file=token_file)
        await asyncio.Event().wait()


async def _run_hub(config: HubConfig, stop: asyncio.Event, log: NodeLog) -> None:
    async with AsyncExitStack() as stack:
        node = await _start_hub(config, log, stack, stop)
        if node is not None:
            await _while(stop.wait(), node.run())
    log.info("hub has stopped")


async def _run_up(config: UpConfig, stop: asyncio.Event, folder: Path, *, is_json: bool) -> None:
    from millstream.config import UplinkConfig
    from millstream.edge import EdgeNode
    from millstream.sdk import SecretRef

    hub_log = NodeLog(config.hub.name, is_json=is_json)
    edge_log = NodeLog(config.edge.name, is_json=is_json)
    async with AsyncExitStack() as stack:
        node = await _start_hub(config.hub_config(), hub_log, stack, stop)
        if node is None:
            return
        secret = Path(config.hub.data_dir) / "secrets" / "edges" / config.edge.name
        settings = node.server.settings
        assert settings.leaf_listener is not None
        tls = config.tls
        scheme, host = ("nats", _host(settings.host)) if tls is None else ("tls", _name(tls, _host(settings.host)))
        uplink = UplinkConfig(
            url=f"{scheme}://{host}:{settings.leaf_listener.port}",
            secret=SecretRef(file=secret.absolute()),
            ca_file=None if tls is None else tls.ca_file,
        )
        edge_node = EdgeNode(config.edge_config(uplink), log=edge_log.line, folder=folder)
        await _while(edge_node.run(stop), node.run())


async def _start_hub(config: HubConfig, log: NodeLog, stack: AsyncExitStack, stop: asyncio.Event) -> HubNode | None:
    """Enter the hub and its API into `stack`. None when a signal came while it started."""
    from millstream.hub import HubNode

    node = HubNode(config, log=log)
    starting = asyncio.ensure_future(stack.enter_async_context(node))
    await _first_of(starting, stop)
    if not starting.done():
        starting.cancel()
        await asyncio.wait([starting])
    if starting.cancelled():
        return None
    starting.result()
    if config.api is not None:
        await _start_api(config.api, node, stack, log)
    return node


async def _start_api(config: ApiConfig, node: HubNode, stack: AsyncExitStack, log: NodeLog) -> None:
    from millstream.api import (
        PeopleAccess,
        create_app,
        create_tenants_app,
        load_or_make_token,
        plants_of,
        serve_api,
        users_of,
    )
    from millstream.kernel import ConfigError, SystemClock

    if node.config.historian is None:
        raise ConfigError("the HTTP API serves the history", where="api", next_step="add a `historian` section")
    about, plants = {}, plants_of(Path(node.config.hub.data_dir))
    if node.tenants is not None:
        app = create_tenants_app(
            node.tenants, clock=SystemClock(), websocket_port=node.server.settings.websocket_port,
            public_url=node.config.login.public_url, is_tls=node.server.client_tls is not None, plants=plants,
            people=PeopleAccess(users_of(Path(node.config.hub.data_dir)), frozenset(node.config.login.admins)),
        )  # fmt: skip
    else:
        about["token_file"] = token_file = Path(node.config.hub.data_dir) / "secrets" / "api.token"
        if (cluster := node.config.cluster) is not None:
            _share_token(token_file, cluster)
        app = create_app(
            lambda: node.historian, token=load_or_make_token(token_file), status=node.status,
            access=_browser_access(node.server), is_tls=node.server.client_tls is not None, plants=plants,
            role=config.role,
        )  # fmt: skip
    serving = serve_api(
        app, host=config.host, port=config.port, certificate=_certificate(node), beside="millstream.client"
    )  # fmt: skip
    await _listen(serving, node, stack, log, **about)


def _share_token(file: Path, cluster: ClusterConfig) -> None:
    """The token of the API is the same at each member, to whichever one comes."""
    from millstream.bus import shared_secret, write_private

    write_private(file, shared_secret(cluster.secret.resolve(), "api token") + "\n")


def _browser_access(server: NatsServer) -> BrowserAccess | None:
    """How pages reach the node's own server; a server that it was given has no account for them."""
    from millstream.api import BrowserAccess
    from millstream.bus import PEOPLE_USER

    port, password = server.settings.websocket_port, server.settings.people_secret
    return BrowserAccess(port, PEOPLE_USER, password) if port and password else None


def _certificate(node: HubNode | EdgeNode) -> Path | None:
    tls = node.config.tls and node.server.client_tls
    return tls.certificate if tls else None


async def _listen(
    serving: AbstractAsyncContextManager[ApiAddress], node: HubNode | EdgeNode, stack: AsyncExitStack, log: NodeLog,
    **about: Path,
) -> None:  # fmt: skip
    """Serve until the stack ends; the node's file says where."""
    from millstream.api import is_built

    address = await stack.enter_async_context(serving)
    node.node_file.update(api_url=address.url, has_console=is_built())
    log.info("api is up", url=address.url, console="ready" if is_built() else "not built", **about)


async def _while(ends: Coroutine[Any, Any, object], endless: Coroutine[Any, Any, None]) -> None:
    """Run both; when the first ends, the other is cancelled. A failure of either ends both and is raised."""
    async with asyncio.TaskGroup() as group:
        kept = group.create_task(endless)
        await group.create_task(ends)
        kept.cancel()


async def _first_of(work: asyncio.Future[Any], stop: asyncio.Event) -> None:
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()


def _name(tls: TlsConfig, host: str) -> str:
    """What the edge of this machine calls its hub: a name in the certificate that leads here."""
    from millstream.tls import covers, read_facts

    names = read_facts(tls.certificate)[0].names
    return next((name for name in (host, "localhost") if covers(names, name)), host)


def _host(host: str) -> str:
    """An address that one can connect to."""
    if host in ("", "0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
