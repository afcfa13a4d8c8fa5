"""The objects of a device, with what a person calls them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterable

from millstream.connectors.bacnet._device import Device
from millstream.kernel import ConfigError, NotFoundError
from millstream.model import Value
from millstream.protocols.bacnet_plan import (
    BINARY_TYPES,
    DESCRIPTION,
    DEVICE_TYPE,
    OBJECT_LIST,
    OBJECT_NAME,
    UNITS,
    Property,
    parse_address,
)
from millstream.protocols.bacnet_units import pint_unit
from millstream.sdk import NodeInfo

OBJECTS_COUNT_MAX = 10_000
PAGE_COUNT = 100  # objects that are asked together for their names
_WRITABLE = frozenset({1, 2, 4, 5, 14, 19, *range(39, 51), 53, 54, 55})


async def nodes_of(device: Device, root: str | None) -> AsyncGenerator[NodeInfo, None]:
    """Each object with a present value. Raises NotFoundError (MS-1406) when the device does not list them."""
    objects = [item for item in await _listed(device) if item.has_flags and item.object_address.startswith(root or "")]
    for start in range(0, len(objects), PAGE_COUNT):
        page = objects[start : start + PAGE_COUNT]
        wanted = [item.sibling(number) for item in page for number in (OBJECT_NAME, DESCRIPTION, UNITS)]
        found = await device.read_raw(wanted)
        for item in page:
            name, description, units = (found[item.sibling(number)][0] for number in (OBJECT_NAME, DESCRIPTION, UNITS))
            yield NodeInfo(
                address=item.object_address,
                name=name if isinstance(name, str) else item.object_address,
                groups=(item.object_address.partition(":")[0],),
                data_type="bool" if item.object_type in BINARY_TYPES else None,
                unit=_unit(units),
                description=description if isinstance(description, str) and description else None,
                is_writable=item.object_type in _WRITABLE,
            )


async def _listed(device: Device) -> list[Property]:
    """The whole list, or element by element where it does not fit into one answer."""
    if device.number is None:
        raise _no_list("the device does not say its number; set `device_id`")
    whole = Property(DEVICE_TYPE, device.number, OBJECT_LIST)
    value, quality, _ = (await device.read_raw([whole]))[whole]
    if not quality.is_bad and isinstance(value, list):
        return _objects(value[:OBJECTS_COUNT_MAX])
    size = Property(DEVICE_TYPE, device.number, OBJECT_LIST, 0)
    count, quality, _ = (await device.read_raw([size]))[size]
    if quality.is_bad or not isinstance(count, int):
        raise _no_list(quality.label)
    elements = [
        Property(DEVICE_TYPE, device.number, OBJECT_LIST, n) for n in range(1, min(count, OBJECTS_COUNT_MAX) + 1)
    ]
    found = await device.read_raw(elements)
    return _objects(found[element][0] for element in elements)


def _objects(names: Iterable[Value | None]) -> list[Property]:
    """What can be an address; the device itself has no present value, and a number may be none that exists."""
    objects = []
    for name in names:
        with contextlib.suppress(ConfigError):
            objects.append(parse_address(str(name)))
    return objects


def _no_list(reason: str) -> NotFoundError:
    return NotFoundError(
        f"device does not list its objects: {reason}",
        next_step="take the addresses from its documentation; reading them works all the same",
        code="MS-1406",
    )


def _unit(units: Value | None) -> str | None:
    return pint_unit(units) if isinstance(units, int) and not isinstance(units, bool) else None
