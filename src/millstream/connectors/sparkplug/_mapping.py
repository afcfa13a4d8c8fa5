"""From metrics to tags: those that the configuration lists by address, and those that the rules of auto_map name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from millstream.connectors.sparkplug._config import PLACES, AutoMap, SparkplugConfig
from millstream.kernel import DecodeError
from millstream.model import TagPath
from millstream.protocols.mqtt_mapping import literal_prefix, matches
from millstream.protocols.sparkplug_host_model import MetricKey
from millstream.sdk import Tag

NAMES_COUNT_MAX = 12  # levels of a tag's name
KEYS_COUNT_MAX = 500_000  # remembered; as many metrics as a host takes
Place = tuple[str, str, str | None]


class Mapper:
    """The mapping of one session. Pure."""

    def __init__(self, config: SparkplugConfig, tags: Sequence[Tag]) -> None:
        self._auto = config.auto_map
        self._listed: dict[MetricKey, list[str]] = {}
        for tag in tags:
            self._listed.setdefault(MetricKey.parse(tag.address), []).append(tag.key)
        self._known: dict[MetricKey, tuple[str, ...]] = {}
        self.faults: list[str] = []

    def keys(self, metric: MetricKey) -> tuple[str, ...]:
        """Keys of the tags that a metric feeds; none when nobody asked for it."""
        found = self._known.get(metric)
        if found is None:
            if len(self._known) >= KEYS_COUNT_MAX:
                self._known.clear()
            found = self._known[metric] = self._keys(metric)
        return found

    def _keys(self, metric: MetricKey) -> tuple[str, ...]:
        listed = self._listed.get(metric)
        if listed is not None:
            return tuple(listed)
        place = "/".join(level for level in (metric.group, metric.node, metric.device) if level is not None)
        entry = next((entry for entry in self._auto if matches(entry.filter, place)), None)
        if entry is None:
            return ()
        try:
            return (auto_key(entry, metric),)
        except DecodeError as error:
            self.faults.append(f"{metric.address}: {error.what}")
            return ()

    def places(self) -> list[Place]:
        """Sources of the listed tags."""
        return list(dict.fromkeys((key.group, key.node, key.device) for key in self._listed))

    def listed(self, place: Place) -> Iterator[tuple[MetricKey, list[str]]]:
        """The listed metrics of one source."""
        for key, keys in self._listed.items():
            if (key.group, key.node, key.device) == place:
                yield key, keys


def auto_key(entry: AutoMap, metric: MetricKey) -> str:
    """The text form of a tag path, or of names below the connector's place. Raises DecodeError."""
    ids = {"group": metric.group, "node": metric.node, "device": metric.device}
    quoted = {name: _quote(value) if value is not None else "" for name, value in ids.items()}
    levels = [_quote(level) for level in metric.name.split("/") if level]
    if entry.name is not None:
        names = _levels(entry.name.format(metric="/".join(levels), **quoted))
    else:
        told = {*entry.placed(), *PLACES[: len(literal_prefix(entry.filter))]}
        names = [quoted[name] for name in PLACES if name not in told and quoted[name]] + levels
    if len(names) > NAMES_COUNT_MAX:
        names = [*names[: NAMES_COUNT_MAX - 1], "%2F".join(names[NAMES_COUNT_MAX - 1 :])]
    text = "/".join(names)
    if entry.path is None:
        TagPath.parse(f"x:{text}")  # the connector's own place stands before it
        return text
    text = f"{'/'.join(_levels(entry.path.format(**quoted)))}:{text}"
    TagPath.parse(text)
    return text


def _quote(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F").replace(":", "%3A")


def _levels(text: str) -> list[str]:
    """Without the empty ones: a metric of the node itself has no device."""
    return [level for level in text.split("/") if level]


def nodes_of(places: Iterable[Place]) -> list[tuple[str, str]]:
    """The nodes among them."""
    return list(dict.fromkeys((group, node) for group, node, _ in places))
