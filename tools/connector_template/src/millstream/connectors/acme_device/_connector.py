"""The Acme device connector."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from millstream.connectors.acme_device._config import AcmeDeviceConfig
from millstream.connectors.acme_device._session import AcmeDeviceSession, open_session
from millstream.kernel import ConfigError
from millstream.protocols.acme_device_wire import is_address
from millstream.sdk import ConnectorConfig, ConnectorInfo, ConnectorTools, Tag, refuse_options


class AcmeDeviceConnector:
    """Polls and writes the values of one device."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="acme_device",
        summary="Acme device: values by name, read in one go, writes",
        spec="name the document and its version here",
        maturity="silver",
    )
    Config: ClassVar[type[ConnectorConfig]] = AcmeDeviceConfig

    def __init__(self, config: AcmeDeviceConfig, tools: ConnectorTools) -> None:
        self._config = config
        self._tools = tools

    def check_tag(self, tag: Tag) -> None:
        """Raise ConfigError when the address cannot be one, or when there are options: this connector has none."""
        if not is_address(tag.address):
            raise ConfigError(
                f"tag {tag.key!r} has no address of this device",
                expected="printable text without blanks",
                got=repr(tag.address),
                code="MS-0105",
            )
        refuse_options(tag)

    def open(self) -> AbstractAsyncContextManager[AcmeDeviceSession]:
        """Connect; on exit close. Raises Unreachable."""
        return open_session(self._config, self._tools)
