"""The Sparkplug connector."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

from millstream.connectors.sparkplug._config import SparkplugConfig
from millstream.connectors.sparkplug._node_session import NodeSession, make_node, open_node
from millstream.connectors.sparkplug._session import Memory, SparkplugSession, open_session
from millstream.kernel import ConfigError
from millstream.protocols.sparkplug_host_model import MetricKey
from millstream.sdk import ConnectorConfig, ConnectorInfo, ConnectorTools, Tag, checked_address, refuse_options


class SparkplugConnector:
    """A Sparkplug host application that listens to edge nodes, or an edge node that publishes this edge."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="sparkplug",
        summary="Sparkplug B edge nodes of a broker, as their host application; or the edge itself as such a node",
        spec="Eclipse Sparkplug 3.0.0",
        maturity="gold",
        notices_loss=True,
    )
    Config: ClassVar[type[ConnectorConfig]] = SparkplugConfig

    def __init__(self, config: SparkplugConfig, tools: ConnectorTools) -> None:
        self._config = config
        self._tools = tools
        self._memory = Memory()
        self._node = make_node(config) if config.role == "edge_node" else None

    def check_tag(self, tag: Tag) -> None:
        """An address is ``group/node#metric`` or ``group/node/device#metric``."""
        if self._config.role == "edge_node":
            raise ConfigError(
                f"tag {tag.key!r}: an edge node publishes what the edge stores, it has no tags of its own",
                next_step="remove 'tags'; 'base' says what is published",
                code="MS-0105",
            )
        with checked_address(tag, next_step="for all metrics of a node at once use 'auto_map'"):
            key = MetricKey.parse(tag.address)
        if self._config.groups and key.group not in self._config.groups:
            raise ConfigError(
                f"tag {tag.key!r} is of a group that is not listened to",
                expected=", ".join(self._config.groups),
                got=repr(key.group),
                next_step="add it to 'groups'",
                code="MS-0105",
            )
        refuse_options(tag)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[SparkplugSession | NodeSession]:
        """Connect. Raises Unreachable, AuthError, ConfigError (a secret that cannot be read)."""
        if self._node is not None:
            async with open_node(self._config, self._tools, self._node) as publishing:
                yield publishing
            return
        async with open_session(self._config, self._tools, self._memory) as session:
            yield session
