"""The simulated plant of a newcomer's first look."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import checkout, shell


async def test_a_taken_port_is_one_line_and_the_way_out_and_nothing_is_left_running(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = f"python -m millstream.sim --opcua-port 0 --modbus-port {port} --mtconnect-port 0"
        said = await asyncio.to_thread(shell, root, root, line)
    assert said.returncode == 1
    assert "the modbus device did not start: " in said.stderr
    assert "`--modbus-port 0` takes a free port" in said.stderr
    assert len(said.stderr.splitlines()) == 2
