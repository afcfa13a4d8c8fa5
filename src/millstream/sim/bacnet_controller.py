"""A simulated BACnet/IP controller of an air handling unit: python -m millstream.sim.bacnet_controller --port 0.

The first line on standard output is ``{"port": .., "device_id": .., "addresses": {name: address}}``. It offers changes
of value (COV); with ``--tags N`` analog values from instance 100 on count seconds from different numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import socket
import time
from datetime import UTC, datetime
from typing import Any

from bacpypes3.app import Application
from bacpypes3.local.analog import AnalogInputObject, AnalogValueObject
from bacpypes3.local.binary import BinaryValueObject
from bacpypes3.local.device import DeviceObject
from bacpypes3.local.networkport import NetworkPortObject
from bacpypes3.object import CharacterStringValueObject

from millstream.sim._serving import ending, moving, say
from millstream.sim._whims import DeviceClock, Freeze, add_clock, add_freeze, add_tags

DEVICE_ID = 1234
MANY_FIRST = 100
MANY_COUNT_MAX = 5_000
MOVE_S = 1.0
ADDRESSES = {
    "supply": "analog-input:1",
    "return": "analog-input:2",
    "setpoint": "analog-value:1",
    "fan": "binary-value:1",
    "clock": "characterstring-value:1",
}
_COMMON: dict[str, Any] = {"statusFlags": [0, 0, 0, 0], "eventState": "normal", "outOfService": False}


class AirHandling:
    """The objects of the unit."""

    def __init__(self, clock: DeviceClock, freeze: Freeze, many_count: int = 0) -> None:
        self._clock = clock
        self._freeze = freeze
        self.supply = _analog(AnalogInputObject, ("analog-input", 1), "supply", "degreesCelsius")
        self.back = _analog(AnalogInputObject, ("analog-input", 2), "return", "degreesCelsius")
        self.setpoint = _analog(AnalogValueObject, ("analog-value", 1), "setpoint", "degreesCelsius")
        self.setpoint.presentValue = 21.0
        self.fan = BinaryValueObject(
            objectIdentifier=("binary-value", 1), objectName="fan", presentValue="active", **_COMMON
        )
        self.time = CharacterStringValueObject(
            objectIdentifier=("characterstring-value", 1), objectName="clock", presentValue="",
            statusFlags=[0, 0, 0, 0],
        )  # fmt: skip
        self.many = [
            _analog(AnalogValueObject, ("analog-value", MANY_FIRST + number), f"value {number}", "noUnits")
            for number in range(many_count)
        ]
        self._set(time.time())
        self.move()

    @property
    def objects(self) -> list[Any]:
        """All of them."""
        return [self.supply, self.back, self.setpoint, self.fan, self.time, *self.many]

    def move(self) -> None:
        """To now; while the values stand still the clock goes on."""
        self.time.presentValue = datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC).isoformat()
        if not self._freeze.is_on:
            self._set(time.time())

    def _set(self, now_s: float) -> None:
        self.supply.presentValue = round(18.0 + 2.0 * math.sin(now_s / 30), 2)
        self.back.presentValue = round(22.0 + 0.5 * math.sin(now_s / 90), 2)
        for number, value in enumerate(self.many):
            value.presentValue = float((int(now_s) + number) % 100_000)


def _analog(kind: Any, identifier: tuple[str, int], name: str, units: str) -> Any:
    return kind(
        objectIdentifier=identifier, objectName=name, presentValue=0.0, units=units, covIncrement=0.1, **_COMMON
    )


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bacnet_controller", description="A simulated BACnet/IP controller.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="of UDP; 0 picks a free one")
    add_tags(parser, "analog values", MANY_COUNT_MAX)
    add_clock(parser)
    add_freeze(parser)
    return parser.parse_args(arguments)


def _free_udp_port(host: str) -> int:
    """One that nobody has: the library would share a port with another program."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


async def run(options: argparse.Namespace) -> None:
    """Be the controller until a signal."""
    logging.getLogger("bacpypes3").setLevel(logging.CRITICAL)
    end, port = ending(), options.port or _free_udp_port(options.host)
    clock = DeviceClock(options.clock_offset, options.clock_drift)
    unit = AirHandling(clock, Freeze(options.freeze_after), options.tags)
    device = DeviceObject(objectIdentifier=("device", DEVICE_ID), objectName="air handling", vendorIdentifier=999)
    network = NetworkPortObject(
        f"{options.host}/8:{port}", objectIdentifier=("network-port", 1), objectName="port", networkNumber=0,
        networkNumberQuality="unknown",
    )  # fmt: skip
    app = Application.from_object_list([device, network, *unit.objects])
    try:
        (layer,) = app.link_layers.values()
        await asyncio.wait(layer.server._transport_tasks)  # the library has no public word for "bound"
        say(port=port, device_id=DEVICE_ID, addresses=ADDRESSES)
        await moving(end, unit.move, MOVE_S)
    finally:
        app.close()


def main(arguments: list[str] | None = None) -> None:
    """Entry of the process."""
    asyncio.run(run(_options(arguments)))


if __name__ == "__main__":
    main()
