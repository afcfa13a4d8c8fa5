"""Where a flow begins, and instances that are started from another folder with the node's address only."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

from flow_site import FLOW, FLOW_FILE, client_of, edge_of, flow_status, outputs, rows_of, until, write_site

import warm
from millstream.bus import StreamApi
from millstream.cli._options import PASSWORD_VARIABLE
from millstream.protocols.cloudevents import format_time
from millstream.protocols.uns_payload import decode_sample
from millstream.sdk import Received


async def test_a_flow_begins_with_what_was_stored_at_a_time(tmp_path: Path) -> None:
    log: list[str] = []
    first_file = write_site(tmp_path, flows=[], rows=100)
    async with edge_of(first_file, log) as edge, client_of(edge.server) as connection:
        last: Received | None = None

        async def is_stored() -> bool:
            nonlocal last
            last = await StreamApi(connection).last("E_e1_I", "uns.v1.acme.p1.m0._tag.row")
            return last is not None and decode_sample(last.payload).value == 99  # the last of a hundred

        await until(is_stored, "100 rows", tell=lambda: log)
    assert last is not None
    start = format_time(last.stored_time_ns + 1_000_000)
    path = write_site(tmp_path, flows=[{**FLOW, "start": start}], rows=250)
    for rows in (150, 150):  # a restart does not begin anew
        async with edge_of(path, log) as edge:

            async def has(count: int = rows) -> bool:
                return len(rows_of(await outputs(edge.server))) >= count

            await until(has, f"{rows} rows", tell=lambda: (flow_status(edge), log))
            assert rows_of(await outputs(edge.server)) == list(range(1, rows + 1))


async def test_an_instance_in_another_folder_needs_the_address_and_the_code_only(tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "node", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    flow: dict[str, Any] = {**FLOW, "instances": 0}
    async with edge_of(write_site(here, flows=[flow], rows=120)) as edge:
        (elsewhere / "mine.py").write_text(FLOW_FILE, encoding="utf-8")
        file = elsewhere / "edge.yaml"
        file.write_text(f"edge: {{name: e1, path: acme/p1, data_dir: none}}\nflows: {json.dumps([flow])}\n")
        server = edge.server
        words = warm.command("flow", "run", "-c", str(file), "--flow", "rows")
        process = await asyncio.create_subprocess_exec(
            *words, "--url", server.url, "--user", str(server.user), cwd=elsewhere, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, PASSWORD_VARIABLE: str(server.password)},
        )  # fmt: skip
        try:

            async def is_done() -> bool:
                return len(rows_of(await outputs(server))) >= 120

            await until(is_done, "all rows", tell=lambda: flow_status(edge))
        finally:
            process.send_signal(signal.SIGTERM)
            _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
        assert rows_of(await outputs(server)) == list(range(1, 121))
        assert not (elsewhere / "none").exists(), "it has no store of its own"
