"""What the bounds of the edge's streams have done: sources held back, data dropped before the hub had it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millstream.bus import StreamInfo, StreamName
from millstream.edge._lifecycle import Alarm
from millstream.sdk import PublisherStats


class StoreWatch:
    """Remembers since when; pure. One `look` a second."""

    def __init__(self) -> None:
        self.dropped_messages = 0
        self._since_ns: dict[str, int] = {}

    def look(
        self, streams: Sequence[StreamInfo], stats: Mapping[str, PublisherStats], cursor_seq: int | None, now_ns: int
    ) -> list[Alarm]:
        """The alarms now. `cursor_seq` is the hub's in the integrity stream, None without an uplink."""
        texts = {name: f"the {name} stream is full: sources are held back" for name, s in stats.items() if s.is_full}
        alarms = [self._alarm("MS-0401", f"full {name}", text, now_ns) for name, text in texts.items()]
        dropped = 0 if cursor_seq is None else max((_dropped(info, cursor_seq) for info in streams), default=0)
        self.dropped_messages = max(self.dropped_messages, dropped)
        if dropped:
            text = f"{dropped} messages were dropped by the stream's bounds before the hub had them"
            alarms.append(self._alarm("MS-0623", "dropped", text, now_ns))
        active = {f"full {name}" for name in texts} | ({"dropped"} if dropped else set())
        self._since_ns = {key: since for key, since in self._since_ns.items() if key in active}
        return alarms

    def _alarm(self, code: str, key: str, text: str, now_ns: int) -> Alarm:
        return Alarm(code, text, self._since_ns.setdefault(key, now_ns))


def _dropped(info: StreamInfo, cursor_seq: int) -> int:
    name = StreamName.parse(info.name)
    if name is None or name.kind != "I" or info.last_seq == 0:
        return 0
    return max(0, info.first_seq - 1 - cursor_seq)
