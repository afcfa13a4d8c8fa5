"""A BACnet/IP device of bacpypes3 whose values change by themselves and are reported.

Arguments: address, port, seconds between changes. Prints {"port": ..} when it listens; SIGTERM ends it. With SIGUSR1 it
forgets all subscriptions, as a device that was restarted.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from bacpypes3.app import Application
from bacpypes3.local.analog import AnalogInputObject, AnalogValueObject
from bacpypes3.local.binary import BinaryValueObject
from bacpypes3.local.device import DeviceObject
from bacpypes3.local.networkport import NetworkPortObject
from bacpypes3.object import CharacterStringValueObject

FLAGS = [0, 0, 0, 0]


async def run(address: str, port: int, pause_s: float) -> None:
    """Until SIGTERM."""
    common = {"eventState": "normal", "outOfService": False}
    counter = AnalogValueObject(
        objectIdentifier=("analog-value", 1), objectName="counter", presentValue=0.0, statusFlags=FLAGS,
        units="noUnits", covIncrement=0.5, **common,
    )  # fmt: skip
    probe = AnalogInputObject(
        objectIdentifier=("analog-input", 1), objectName="probe", presentValue=20.5, statusFlags=FLAGS,
        units="degreesCelsius", covIncrement=0.1, **common,
    )  # fmt: skip
    fan = BinaryValueObject(
        objectIdentifier=("binary-value", 1), objectName="fan", presentValue="active", statusFlags=FLAGS, **common
    )
    label = CharacterStringValueObject(
        objectIdentifier=("characterstring-value", 1), objectName="label", presentValue="kiln", statusFlags=FLAGS
    )
    device = DeviceObject(objectIdentifier=("device", 999), objectName="cov device", vendorIdentifier=999)
    network = NetworkPortObject(
        f"{address}/8:{port}", objectIdentifier=("network-port", 1), objectName="port", networkNumber=0,
        networkNumberQuality="unknown",
    )  # fmt: skip
    app = Application.from_object_list([device, network, counter, probe, fan, label])
    (layer,) = app.link_layers.values()
    await asyncio.wait(layer.server._transport_tasks)
    ended = asyncio.Event()

    def forget() -> None:
        """All subscriptions, without a word."""
        for detection in list(app._cov_detections.values()):
            for subscription in list(detection.cov_subscriptions):
                subscription.cancel_subscription()
            detection.unbind()
        app._cov_detections.clear()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGUSR1, forget)
    sys.stdout.write(json.dumps({"port": port}) + "\n")
    sys.stdout.flush()
    number = 0
    while not ended.is_set():
        try:
            async with asyncio.timeout(pause_s):
                await ended.wait()
        except TimeoutError:
            number += 1
            counter.presentValue = float(number)
    app.close()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
