"""A whole simulated plant for a first look: python -m millstream.sim [--edge data/edge].

It starts an OPC UA press, a Modbus boiler, an MTConnect adapter with a recorded Mazak day, and an MQTT scale, each as a
process of its own. The scale publishes on the listener of an edge on this machine, and waits for it to come up. The
first line on standard output has the ports; SIGTERM or SIGINT ends all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

LOOK_S = 0.5  # between two looks for the edge
AGAIN_S = 2.0  # before a scale that the edge refused tries with what node.json says then
STOP_S = 10.0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m millstream.sim", description="A whole simulated plant.")
    parser.add_argument("--opcua-port", type=int, default=4840, help="0 picks a free one, as for all ports")
    parser.add_argument("--modbus-port", type=int, default=5020)
    parser.add_argument("--mtconnect-port", type=int, default=7878)
    parser.add_argument("--edge", type=Path, default=Path("data/edge"), help="data directory of the scale's edge")
    return parser.parse_args(arguments)


async def _start(log: Path, module: str, *arguments: str) -> asyncio.subprocess.Process:
    with log.open("wb") as errors:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"millstream.sim.{module}", *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=errors,
            start_new_session=True,  # the terminal's interrupt is for this process, which ends the others in order
        )  # fmt: skip


async def _port(name: str, process: asyncio.subprocess.Process, log: Path) -> int:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        await process.wait()
        reason = (log.read_text(encoding="utf-8", errors="replace").strip() or "it said nothing").splitlines()[-1]
        raise SystemExit(f"the {name} device did not start: {reason}\ntip: `--{name}-port 0` takes a free port")
    return int(json.loads(line)["port"])


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()


def _listener(edge: Path) -> Mapping[str, Any] | None:
    """What node.json says of the edge's MQTT listener; None while there is none."""
    try:
        node = json.loads((edge / "node.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return node if isinstance(node, dict) and node.get("mqtt_port") else None


async def _keep_scale(edge: Path, folder: Path) -> None:
    """Run the scale whenever there is an edge for it; for ever. `folder` is private."""
    secret = folder / "password"
    while True:
        while (node := _listener(edge)) is None:
            await asyncio.sleep(LOOK_S)
        secret.touch(mode=0o600)
        secret.write_text(str(node["mqtt_password"]), encoding="utf-8")
        scale = await _start(
            folder / "scale.log", "mqtt_plant", "--port", str(node["mqtt_port"]), "--user", str(node["mqtt_user"]),
            "--password-file", str(secret), "--rate", "5",
        )  # fmt: skip
        try:
            await scale.wait()
        finally:
            await _stop(scale)
        await asyncio.sleep(AGAIN_S)


async def run(options: argparse.Namespace) -> None:
    """Run the plant until a signal."""
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    ports = {"opcua": options.opcua_port, "modbus": options.modbus_port, "mtconnect": options.mtconnect_port}
    modules = {"opcua": "opcua_plant", "modbus": "modbus_plant", "mtconnect": "shdr_adapter"}
    devices: dict[str, asyncio.subprocess.Process] = {}
    with tempfile.TemporaryDirectory(prefix="millstream-sim-") as name:
        folder = Path(name)
        try:
            for device, port in ports.items():
                devices[device] = await _start(folder / f"{device}.log", modules[device], "--port", str(port))
            ready = {device: await _port(device, each, folder / f"{device}.log") for device, each in devices.items()}
            sys.stdout.write(json.dumps(ready) + os.linesep)
            sys.stdout.flush()
            sys.stderr.write(
                f"the plant is up; its scale publishes once an edge runs in {options.edge}; Ctrl-C ends it\n"
            )
            async with asyncio.TaskGroup() as group:
                scale = group.create_task(_keep_scale(options.edge, folder))
                await ending.wait()
                scale.cancel()
        finally:
            for process in devices.values():
                await _stop(process)


def main(arguments: list[str] | None = None) -> None:
    """Entry of the process."""
    asyncio.run(run(_options(arguments)))


if __name__ == "__main__":
    main()
