"""A small server by which a member of a cluster hears the others before it opens its own doors.

It has the routes and the accounts of the member's server, but no streams and no listener for edges, devices or people.
So whoever was locked out while this member was away does not come in again before the member has heard of that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from millstream.bus._connection import RawConnection
from millstream.bus._credentials import Credentials
from millstream.bus._server_config import ServerSecrets, ServerSettings, render_config
from millstream.bus._server_files import make_directories, pick_ports
from millstream.bus._server_program import find_program, launching
from millstream.kernel import write_private

START_PATIENCE_S = 10.0
STOP_TIMEOUT_S = 5.0
LOOPBACK = "127.0.0.1"
_LEFT_OUT = ("jetstream", "http", "leafnodes", "mqtt", "websocket", "tls", "log_file", "logfile_size_limit",
             "logfile_max_num")  # fmt: skip


def render_scout(settings: ServerSettings, port: int) -> str:
    """Its configuration: the member's, without streams and doors. Pure."""
    assert settings.cluster is not None
    bare = replace(
        settings, host=LOOPBACK, port=port, monitor_port=1, leaf_listener=None, leaf_remote=None, mqtt_port=None,
        websocket_port=None,
    )  # fmt: skip
    config = json.loads(render_config(bare, ServerSecrets("", ""), store_dir="", log_file=""))
    for name in _LEFT_OUT:
        config.pop(name, None)
    config["server_name"] = f"{settings.cluster.server_name}-scout"
    return json.dumps(config, indent=1) + "\n"


@contextlib.asynccontextmanager
async def scouting(settings: ServerSettings, data_dir: Path, login: Credentials) -> AsyncIterator[RawConnection]:
    """A connection to the account of `login` at all other members that can be reached. Raises PlantError when the
    scout does not start."""
    folder = data_dir.absolute() / "server"
    await asyncio.to_thread(make_directories, data_dir.absolute())
    port = pick_ports({"client": 0}, {}, LOOPBACK)["client"]
    path = folder / "scout.conf"
    write_private(path, render_scout(settings, port))
    with (folder / "scout.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *launching(is_hub=False), find_program(), "-c", str(path),
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, process_group=0,
        )  # fmt: skip
    try:
        url = f"nats://{LOOPBACK}:{port}"
        async with RawConnection(url, credentials=login, name="scout", patience_s=START_PATIENCE_S) as connection:
            yield connection
    finally:
        await asyncio.shield(_end(process))
        path.unlink(missing_ok=True)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
