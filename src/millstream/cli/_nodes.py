"""Commands that run nodes: edge, hub, up, demo."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from millstream.cli._output import print_json, say
from millstream.config import Finding, InstalledConnectors, UplinkConfig, config_error, load_edge, load_hub, load_up
from millstream.kernel import PlantError
from millstream.sdk import SecretRef

ConfigFile = Annotated[Path, Parameter(name=["--config", "-c"])]


def edge(*, config: ConfigFile, json: bool = False) -> int:
    """Run the edge node of a configuration file until it is told to stop (SIGTERM or Ctrl-C).

    Examples: `millstream edge -c edge.yaml`; `millstream edge -c edge.yaml --json` prints one JSON line once it is up.

    Parameters
    ----------
    config
        The edge's configuration file.
    json
        Print {"ready": ...} as JSON when the node is up.
    """
    from millstream.edge import EdgeNode

    settings, findings = load_edge(config, InstalledConnectors())
    if settings is None:
        raise _refused(findings)
    _start_logging()

    @asynccontextmanager
    async def node() -> AsyncIterator[str]:
        async with EdgeNode(settings) as running:
            yield running.server.url

    return asyncio.run(_until_told(node, settings.edge.name, is_json=json))


def hub(*, config: ConfigFile, json: bool = False) -> int:
    """Run the hub of a configuration file until it is told to stop.

    Examples: `millstream hub -c hub.yaml`; `millstream hub -c hub.yaml --json`.

    Parameters
    ----------
    config
        The hub's configuration file.
    json
        Print {"ready": ...} as JSON when the node is up.
    """
    settings, findings = load_hub(config)
    if settings is None:
        raise _refused(findings)
    _start_logging()

    @asynccontextmanager
    async def node() -> AsyncIterator[str]:
        async with _running_hub(settings) as running:
            yield running.server.url

    return asyncio.run(_until_told(node, settings.hub.name, is_json=json))


def up(*, config: ConfigFile, json: bool = False) -> int:
    """Run hub and edge in one, on a single machine.

    Examples: `millstream up -c up.yaml`; `millstream up -c up.yaml --json`.

    Parameters
    ----------
    config
        A file with both an `edge` and a `hub` section.
    json
        Print {"ready": ...} as JSON when the nodes are up.
    """
    from millstream.edge import EdgeNode

    settings, findings = load_up(config, InstalledConnectors())
    if settings is None:
        raise _refused(findings)
    _start_logging()

    @asynccontextmanager
    async def node() -> AsyncIterator[str]:
        async with _running_hub(settings.hub_config()) as running:
            name = settings.edge.name
            secret = SecretRef(file=Path(settings.hub.data_dir) / "secrets" / "edges" / name)
            listener = running.server.settings.leaf_listener
            assert listener is not None
            uplink = UplinkConfig(url=f"nats://127.0.0.1:{listener.port}", secret=secret)
            async with EdgeNode(settings.edge_config(uplink)):
                yield running.server.url

    return asyncio.run(_until_told(node, settings.hub.name, is_json=json))


@asynccontextmanager
async def _running_hub(settings: Any) -> AsyncIterator[Any]:
    """A hub with its HTTP interface, when one is configured, and its loops running."""
    from millstream.hub import HubNode

    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(HubNode(settings))
        if settings.api is not None and running.historian is not None:
            from millstream.api import create_app, load_or_make_token, serve_api

            token = load_or_make_token(Path(settings.hub.data_dir) / "secrets" / "api.token")
            app = create_app(running.historian, token=token, status=running.status)
            address = await stack.enter_async_context(serve_api(app, host=settings.api.host, port=settings.api.port))
            running.node_file.update(api_url=address.url)
        work = asyncio.get_running_loop().create_task(running.run(), name="hub")
        try:
            yield running
        finally:
            work.cancel()
            await asyncio.wait([work])
            if not work.cancelled() and (error := work.exception()) is not None:
                raise error


async def _until_told(node: Any, name: str, *, is_json: bool) -> int:
    """Enter a node, say so once, and leave it in order on SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with node() as url:
        if is_json:
            print_json({"ready": name, "nats_url": url})
        else:
            say(f"{name} is up at {url}; Ctrl-C stops it")
        await stop.wait()
    return 0


def _refused(findings: list[Finding]) -> PlantError:
    for finding in findings:
        say(str(finding))
    return config_error(findings)


def _start_logging() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for chatty in ("asyncua", "pymodbus", "gmqtt", "nats", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)  # their trouble reaches us as exceptions, told once


def demo(*words: str) -> int:
    """A plant, an edge and a hub on this machine; the uplink is cut, and the ledger shows what that cost.

    Examples: `millstream demo`; `millstream demo --for 30s --cut 8s --json`.

    Parameters
    ----------
    words
        See `millstream demo --help`.
    """
    from millstream.demo import main

    return main(list(words))
