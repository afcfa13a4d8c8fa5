"""Configuration of the Sparkplug connector."""

from __future__ import annotations

import string
from typing import Literal

from pydantic import Field, field_validator, model_validator

from millstream.kernel import DecodeError
from millstream.model import AssetPath
from millstream.mqtt import BrokerConfig
from millstream.protocols.mqtt_mapping import check_filter
from millstream.protocols.sparkplug_topic import check_id
from millstream.sdk import Duration, Strict

PLACES = ("group", "node", "device")


class AutoMap(Strict):
    """Metrics that become tags by themselves."""

    filter: str = "#"
    """Which sources, as group/node/device with + and # as in MQTT, e.g. Plant 1/+/#."""
    path: str | None = None
    """The place of the tags, in full, e.g. acme/plant1/{node}/{device}; left out, the connector's own."""
    name: str | None = None
    """Their name there, e.g. {device}/{metric}; left out, the ids that neither filter nor path has, then the metric."""

    @model_validator(mode="after")
    def _parses(self) -> AutoMap:
        try:
            check_filter(self.filter)
            if self.path is not None:
                used = _placeholders(self.path, PLACES)
                AssetPath.parse(self.path.format(**dict.fromkeys(used, "x")))
            if self.name is not None and "metric" not in _placeholders(self.name, (*PLACES, "metric")):
                raise ValueError("'name' needs {metric}: metrics would share one tag")
        except DecodeError as error:
            raise ValueError(str(error)) from error
        return self

    def placed(self) -> tuple[str, ...]:
        """Which ids stand in the path."""
        return _placeholders(self.path or "", PLACES)


def _placeholders(text: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    found = []
    for _, name, form, conversion in string.Formatter().parse(text):
        if name is None:
            continue
        if name not in allowed or form or conversion:
            raise ValueError(f"{{{name}}} cannot stand here, expected {', '.join(f'{{{each}}}' for each in allowed)}")
        found.append(name)
    return tuple(found)


class SparkplugConfig(BrokerConfig):
    """Which broker, and which of its nodes; or which node to be."""

    role: Literal["host", "edge_node"] = "host"
    """host listens to edge nodes; edge_node publishes what this edge stores as a Sparkplug edge node."""
    host: str
    """The broker's name or address."""
    client_id: str
    """This client's name there. No two clients may share it: the broker would cut one off for the other."""
    host_id: str | None = None
    """host: name of this host application; its STATE is published under it. No two hosts may share it."""
    groups: tuple[str, ...] = ()
    """host: groups to listen to; left out, all."""
    auto_map: tuple[AutoMap, ...] = ()
    """host: metrics that become tags without being listed under tags. The first entry that fits counts."""
    reorder_timeout: Duration = Field(default=2.0, ge=0.0)
    """host: so long a message that others have overtaken is waited for; 0s does not wait."""
    rebirth_interval: Duration = Field(default=10.0, ge=1.0)
    """host: at least so long between two rebirth requests to one node; doubled while they do not help."""
    birth_timeout: Duration = Field(default=10.0, ge=1.0)
    """host: so long births may take: of the configured tags' nodes after connecting, of devices after their node's."""
    doubt_timeout: Duration = Field(default=30.0, ge=1.0)
    """host: a node whose NDEATH belongs to another session, and that is silent for so long, counts as dead."""
    group: str | None = None
    """edge_node: the group it belongs to."""
    node: str | None = None
    """edge_node: its id in the group."""
    base: str | None = None
    """edge_node: the place whose tags are published, e.g. acme/plant1; the level below it is the device."""
    primary_host: str | None = None
    """edge_node: the host_id to wait for; without it births are published as soon as there is a link."""

    commands: bool = False
    """edge_node: commands of host applications write tags that have a `write` section; off: only rebirth is obeyed."""

    @field_validator("host_id", "group", "node", "primary_host")
    @classmethod
    def _ids(cls, value: str | None) -> str | None:
        return None if value is None else _id(value, "id")

    @field_validator("base")
    @classmethod
    def _base(cls, value: str | None) -> str | None:
        try:
            return None if value is None else str(AssetPath.parse(value))
        except DecodeError as error:
            raise ValueError(str(error)) from error

    @field_validator("groups")
    @classmethod
    def _groups(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_id(each, "group id") for each in value))

    @model_validator(mode="after")
    def _fits(self) -> SparkplugConfig:
        own = {"host": ("host_id",), "edge_node": ("group", "node", "base")}
        missing = [name for name in own[self.role] if getattr(self, name) is None]
        if missing:
            raise ValueError(f"role {self.role} needs {', '.join(repr(name) for name in missing)}")
        return self


def _id(value: str, what: str) -> str:
    try:
        check_id(value, what)
    except DecodeError as error:
        raise ValueError(str(error)) from error
    return value
