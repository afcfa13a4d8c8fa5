"""Which device is at an address: a Who-Is to it alone, and its name (ASHRAE 135-2020, clauses 16.10 and 15.5)."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.connectors.bacnet._config import BacnetConfig
from millstream.connectors.bacnet._device import WILDCARD_INSTANCE, Device
from millstream.connectors.bacnet._link import BacnetLink
from millstream.kernel import Unreachable, format_duration
from millstream.protocols.bacnet_plan import DEVICE_TYPE, Property
from millstream.sdk import ConnectorTools, Discovered, DiscoveryTools, Place

OBJECT_IDENTIFIER, OBJECT_NAME, VENDOR_NAME, MODEL_NAME = 75, 77, 121, 70


async def find_device(place: Place, tools: DiscoveryTools) -> Sequence[Discovered]:
    """The device at `place`. Raises Unreachable when nothing answers.

    The Who-Is goes to one address, never to all. Devices that answer it by a broadcast are asked for their number.
    """
    config = BacnetConfig.model_validate(
        {"host": place.host, "port": place.port, "timeout": format_duration(tools.timeout_s), "retries": 0}
    )
    link = BacnetLink(config)
    try:
        await link.open()
        device = Device(link, config, ConnectorTools().log)
        await tools.turn("BACnet Who-Is")
        number = await link.ask_number()
        if number is None:
            await tools.turn("BACnet ReadProperty")
            number = await _number(device)
        if number is None:
            raise Unreachable("device does not say its number", where=str(place))
        facts: dict[str, str] = {"device_id": str(number)}
        for name, property_id in (("name", OBJECT_NAME), ("vendor", VENDOR_NAME), ("model", MODEL_NAME)):
            await tools.turn("BACnet ReadProperty")
            asked = Property(DEVICE_TYPE, number, property_id)
            value, quality, _ = (await device.read_raw([asked]))[asked]
            if isinstance(value, str) and quality.is_good:
                facts[name] = value[:200]
    finally:
        await link.close()
    name = facts.pop("name", f"device {number}")
    return [Discovered(str(place), name, {"host": place.host, "port": place.port, "device_id": number}, facts)]


async def _number(device: Device) -> int | None:
    asked = Property(DEVICE_TYPE, WILDCARD_INSTANCE, OBJECT_IDENTIFIER)
    value, quality, _ = (await device.read_raw([asked]))[asked]
    number = value.rpartition(":")[2] if isinstance(value, str) and quality.is_good else ""
    return int(number) if number.isdecimal() else None
