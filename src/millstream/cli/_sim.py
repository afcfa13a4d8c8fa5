"""``sim list | run | fault``: simulated devices, and a fault layer in front of any TCP device."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from millstream.cli._options import Json, run
from millstream.cli._output import OK, note, print_json, print_table, report_usage
from millstream.kernel import NotFoundError, needs_extra, parse_duration_s, suggest

if TYPE_CHECKING:
    from millstream.sim import FaultProxy

RESET_EVERY_S_MIN = 0.1
Flag = Annotated[bool, Parameter(negative="")]


def list_(*, json: Json = False) -> int:
    """List the simulated devices.

    Examples:

        millstream sim list
        millstream sim list --json | jq -r .name

    Parameters
    ----------
    json
        Print one object a device.
    """
    from millstream.sim import DEVICES

    for device in DEVICES if json else ():
        print_json({"name": device.name, "connector": device.connector, "summary": device.summary})
    if not json:
        print_table(("name", "connector", "what"), [(d.name, d.connector, d.summary) for d in DEVICES])
    return OK


def run_device(name: str, /, *arguments: str, json: Json = False) -> int:
    """Run a simulated device until Ctrl-C.

    Its first line says, as JSON, where it listens. `millstream sim run NAME --help` lists the options of a device:
    thousands of tags, values that stand still, a clock that drifts.

    Examples:

        millstream sim run opcua_plant --port 4840 --tags 5000
        millstream sim run modbus_plant --port 5020 --tags 2000 --freeze-after 30s

    Parameters
    ----------
    name
        One of `millstream sim list`.
    arguments
        The device's own.
    json
        Nothing changes: what a device says is JSON.
    """
    from millstream.sim import DEVICES

    device = next((device for device in DEVICES if device.name == name), None)
    if device is None:
        near = suggest(name, [device.name for device in DEVICES])
        raise NotFoundError(
            "no such simulated device", got=repr(name),
            next_step=f"did you mean {near!r}?" if near else "`millstream sim list`",
        )  # fmt: skip
    with needs_extra("the simulated device", device.connector):
        module = import_module(device.module)
    try:
        module.main([argument for argument in arguments if argument != "--json"])
    except SystemExit as end:  # its parser's: help, or a wrong option
        return end.code if isinstance(end.code, int) else OK
    return OK


def fault(
    *,
    to: str,
    listen: int = 0,
    slow: str = "0s",
    rate: float | None = None,
    half_frames: Flag = False,
    wrong_length: Flag = False,
    drop: Flag = False,
    freeze: Flag = False,
    torn: Flag = False,
    chance: float = 0.1,
    reset_every: str | None = None,
    seed: int = 0,
    json: Json = False,
) -> int:
    """Stand in front of a TCP device and misbehave, by a seed.

    What the device answers is treated by chance; connect to the port on loopback that the first line names. At the end
    it says how often it did what. The same seed and the same answers get the same treatment.

    Examples:

        millstream sim fault --listen 5021 --to 127.0.0.1:5020 --slow 200ms --half-frames
        millstream sim fault --to 10.0.4.17:502 --drop --wrong-length --chance 0.05 --reset-every 10s --seed 7

    Parameters
    ----------
    to
        The device, as host:port.
    listen
        Port on loopback; 0 picks a free one.
    slow
        How much later everything arrives, each way.
    rate
        Bytes a second at most, each way.
    half_frames
        Send an answer in two parts, with a pause between.
    wrong_length
        Cut an answer's end off, or repeat its beginning behind it.
    drop
        Lose an answer.
    freeze
        Fall silent for the rest of the connection, and keep it open.
    torn
        Send the beginning of an answer, then cut the connection.
    chance
        Of each answer to get one of these, 0 to 1.
    reset_every
        Cut all connections each time this has passed.
    seed
        Of the chance.
    json
        Print what it did as one object, at the end.
    """
    from millstream.sim import Fault, FaultProxy, Kind, Mischief

    host, colon, port = to.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536 or not 0 <= chance <= 1:
        return report_usage("--to is host:port, --chance 0 to 1", "`millstream sim fault --help`", is_json=json)
    reset_every_s = None if reset_every is None else parse_duration_s(reset_every)
    if reset_every_s is not None and reset_every_s < RESET_EVERY_S_MIN:
        return report_usage(f"--reset-every is at least {RESET_EVERY_S_MIN:g}s", None, is_json=json)
    asked = zip(Kind, (half_frames, wrong_length, drop, freeze, torn), strict=True)
    mischief = Mischief([kind for kind, is_on in asked if is_on], chance, seed)
    proxy = FaultProxy(host.strip("[]"), int(port), listen_port=listen, mischief=mischief)
    proxy.set(Fault(delay_s=parse_duration_s(slow), bytes_per_s=rate))
    resets = run(_stand(proxy, reset_every_s))
    _tell(proxy, {**{kind.value: count for kind, count in mischief.counts.items()}, "reset": resets}, is_json=json)
    return OK


def _tell(proxy: FaultProxy, did: dict[str, int], *, is_json: bool) -> None:
    if is_json:
        print_json({"connections": proxy.accepted_count, "bytes": proxy.bytes_count, "did": did})
    note(", ".join(f"{count} x {what}" for what, count in did.items() if count) or "it did nothing to any answer")


async def _stand(proxy: FaultProxy, reset_every_s: float | None) -> int:
    """Until a signal; gives how often it cut."""
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    resets = 0
    async with proxy:
        print_json({"port": proxy.port})
        while not ending.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(reset_every_s):
                    await ending.wait()
            if not ending.is_set():
                proxy.reset()
                resets += 1
    return resets
