"""Assets of an agent: read when it says that one has changed, and all of them at the start and after a gap."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import quote

from millstream.connectors.mtconnect._mapping import TagMap
from millstream.kernel import DecodeError
from millstream.model import Event, Sample, Value
from millstream.protocols.mtconnect_assets import AssetDocument, parse_assets
from millstream.protocols.mtconnect_xml import AgentError, Devices, StreamedItem

ADDRESS = "@ASSET@"  # of a tag; as an adapter writes it
_CHANGED, _REMOVED = "ASSET_CHANGED", "ASSET_REMOVED"


class AssetReader:
    """Makes events of assets for the tags that ask for them; without such a tag nothing is read."""

    def __init__(self, devices: Devices, fetch: Callable[[str], Awaitable[bytes]], source: str) -> None:
        self._types = {item.id: item.type for item in devices.data_items if item.type in (_CHANGED, _REMOVED)}
        self._fetch = fetch
        self._source = source

    async def all(self, tag_map: TagMap, instance_id: int) -> list[Event]:
        """Every asset that the agent has now. Raises DecodeError, Unreachable."""
        if not tag_map.keys(ADDRESS):
            return []
        found = parse_assets(await self._fetch("assets"))
        if isinstance(found, AgentError):
            return []  # an agent without assets says so with an error
        return [
            event
            for asset in found
            for event in self._events(
                tag_map, "present", f"{instance_id}-{asset.asset_id}-{asset.time_ns}", asset.time_ns, _data(asset)
            )
        ]

    async def of(
        self, items: Sequence[StreamedItem], tag_map: TagMap, instance_id: int
    ) -> tuple[list[Event], list[Sample]]:
        """What the observations in `items` say of assets: an event with the asset, a sample with its id."""
        keys = tag_map.keys(ADDRESS)
        events: list[Event] = []
        samples: list[Sample] = []
        for item in items:
            what = self._types.get(item.data_item_id)
            if not keys or what is None or not isinstance(item.value, str) or not item.value:
                continue
            kind = "changed" if what == _CHANGED else "removed"
            data: dict[str, Value] = {"asset_id": item.value, "removed": what == _REMOVED}
            if what == _CHANGED:
                data.update(await self._read(item.value))
            events += self._events(tag_map, kind, f"{instance_id}-{item.sequence}", item.time_ns, data)
            samples += [Sample(key, item.value, item.quality, item.time_ns) for key in keys]
        return events, samples

    async def _read(self, asset_id: str) -> dict[str, Value]:
        """The asset; without its content when it is gone again or cannot be read."""
        try:
            found = parse_assets(await self._fetch(f"asset/{quote(asset_id, safe='')}"))
        except DecodeError as error:
            return {"unreadable": error.what}
        if isinstance(found, AgentError) or not found:
            return {}
        return _data(found[0])

    def _events(
        self, tag_map: TagMap, kind: str, event_id: str, time_ns: int | None, data: dict[str, Value]
    ) -> list[Event]:
        source, type_ = self._source, f"mtconnect.asset.{kind}"
        return [Event(key, type_, event_id, source, data, time_ns) for key in tag_map.keys(ADDRESS)]


def _data(asset: AssetDocument) -> dict[str, Value]:
    return {
        "asset_id": asset.asset_id,
        "asset_type": asset.asset_type,
        "removed": asset.is_removed,
        "asset": asset.content,
    }
