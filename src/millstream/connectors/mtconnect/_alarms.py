"""Changes of conditions as alarms of the tags that read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from millstream.connectors.mtconnect._mapping import TagMap
from millstream.model import Event
from millstream.protocols.mtconnect_condition import Change

TYPE = "mtconnect.condition"


def alarms(
    changes: Iterable[Change], tag_map: TagMap, *, source: str, mark: str, time_ns: int | None
) -> Iterator[Event]:
    """An alarm for each tag that reads the data item. `mark` names the observation at its source."""
    for change in changes:
        code, level = (str(change.fields.get(name, "")) for name in ("native_code", "level"))
        for key in tag_map.keys(change.item):
            yield Event(
                tag=key,
                type=TYPE,
                id=f"{mark}-{change.item}-{code}-{level}",
                source=source,
                data={"data_item": change.item, "active": change.is_active, **change.fields},
                time_ns=time_ns,
                kind="alarm",
            )
