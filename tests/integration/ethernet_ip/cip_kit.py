"""Helpers of the EtherNet/IP tests."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from millstream.connectors.ethernet_ip import EtherNetIpConfig, EtherNetIpConnector
from millstream.connectors.ethernet_ip._session import EtherNetIpSession
from millstream.sdk import ConnectorTools, Tag


def tag(address: str) -> Tag:
    """A tag named by its address."""
    return Tag(address, address)


class Heard:
    """A log that keeps the codes of its warnings."""

    def __init__(self) -> None:
        self.codes: list[str] = []

    def info(self, event: str, **fields: object) -> None:
        """Let pass."""

    def warning(self, event: str, **fields: object) -> None:
        """Keep the code."""
        self.codes.append(str(fields.get("code")))

    error = warning


def opened(port: int, log: Heard | None = None, **config: Any) -> AbstractAsyncContextManager[EtherNetIpSession]:
    """A session with a controller on this machine."""
    settings = {"host": "127.0.0.1", "port": port, "timeout": "5s", **config}
    return EtherNetIpConnector(EtherNetIpConfig.model_validate(settings), ConnectorTools(log=log or Heard())).open()


async def values(session: EtherNetIpSession, *addresses: str) -> list[tuple[Any, str]]:
    """Value and quality of each."""
    return [(sample.value, sample.quality.label) for sample in await session.read([tag(text) for text in addresses])]
