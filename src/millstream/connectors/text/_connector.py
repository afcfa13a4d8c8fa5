"""The text connector."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

from millstream.connectors.text._config import TextConfig, TextTagOptions
from millstream.kernel import ConfigError
from millstream.protocols.text_command import parse_command
from millstream.protocols.text_mapping import FRAME_FIELD, PEER_FIELD, parse_field
from millstream.sdk import ConnectorConfig, ConnectorInfo, ConnectorTools, Tag, checked_options

if TYPE_CHECKING:
    from millstream.connectors.text._session import TextSession


class TextConnector:
    """Reads what barcode scanners, scales and gauges send as text, and sends them commands where a tag has one."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="text",
        summary="Barcode scanners, scales, gauges: text frames by TCP or serial line, by pattern, columns or JSON",
        spec="none: each maker has its own",
        maturity="silver",
    )
    Config: ClassVar[type[ConnectorConfig]] = TextConfig
    TagOptions: ClassVar[type[TextTagOptions]] = TextTagOptions

    def __init__(self, config: TextConfig, tools: ConnectorTools) -> None:
        self._config = config
        self._tools = tools

    def check_tag(self, tag: Tag) -> None:
        """Raise ConfigError when no frame can have such a field."""
        field = parse_field(tag.address)
        options = checked_options(tag, TextTagOptions, "MS-1900")
        if options.command is not None:
            parse_command(options.command)
        if field.name in (FRAME_FIELD, PEER_FIELD):
            return
        reader = self._config.reader()
        if reader is None:
            raise ConfigError(
                "frames have no fields", expected="$frame or $peer, or another `parse`", got=tag.address, code="MS-1900"
            )
        reader.check(field.name)

    def open(self) -> AbstractAsyncContextManager[TextSession]:
        """Connect, or wait for the first device; on exit close. Raises Unreachable."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[TextSession]:
        from millstream.connectors.text._links import opened
        from millstream.connectors.text._session import TextSession

        if self._config.transport == "serial" and importlib.util.find_spec("serial") is None:
            raise ConfigError(
                "a serial port needs pyserial", next_step="pip install 'millstream[serial]'", code="MS-0106"
            )
        async with opened(self._config) as inbox:
            yield TextSession(inbox, self._config, self._tools)
