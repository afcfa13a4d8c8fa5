"""A BBMD of bacpypes3. Arguments: address, port. Prints {"port": ..} when it listens; SIGTERM ends it. With SIGUSR1 it
prints {"foreign": number of registered foreign devices}."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

from bacpypes3.app import Application
from bacpypes3.basetypes import IPMode
from bacpypes3.local.device import DeviceObject
from bacpypes3.local.networkport import NetworkPortObject
from bacpypes3.pdu import IPv4Address


def say(**what: Any) -> None:
    """One line."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def run(address: str, port: int) -> None:
    """Until SIGTERM."""
    own = f"{address}/8:{port}"
    network = NetworkPortObject(
        own, objectIdentifier=("network-port", 1), objectName="port", networkNumber=0, networkNumberQuality="unknown",
        bacnetIPMode=IPMode.bbmd, bbmdAcceptFDRegistrations=True, bbmdForeignDeviceTable=[],
        bbmdBroadcastDistributionTable=[],
    )  # fmt: skip
    device = DeviceObject(objectIdentifier=("device", 1), objectName="bbmd", vendorIdentifier=999)
    app = Application.from_object_list([device, network])
    (layer,) = app.link_layers.values()
    layer.add_peer(IPv4Address(own))
    await asyncio.wait(layer.server._transport_tasks)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGUSR1, lambda: say(foreign=len(layer.bbmdFDT)))
    say(port=port)
    await ended.wait()
    app.close()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], int(sys.argv[2])))
