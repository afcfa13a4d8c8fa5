"""Helpers of the BACnet tests."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from cases.bacnet_peer import OWN, BacnetDevice

from millstream.connectors.bacnet import BacnetConfig, BacnetConnector
from millstream.connectors.bacnet._session import BacnetSession
from millstream.sdk import ConnectorTools, Tag


class Heard:
    """A log that remembers."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def info(self, event: str, **fields: object) -> None:
        """Keep the event."""
        self.events.append(event)

    warning = error = info


def tag(address: str, every_s: float = 1.0, **options: Any) -> Tag:
    """A tag named by its address."""
    return Tag(address, address, sampling_interval_s=every_s, options=options)


def opened(device: BacnetDevice, log: Heard | None = None, **config: Any) -> AbstractAsyncContextManager[BacnetSession]:
    """A session with a device on this machine."""
    settings = {
        "host": device.address, "port": device.port, "bind": OWN, "timeout": "2s", "retries": 2, "watchdog": "1h",
        **config,
    }  # fmt: skip
    connector = BacnetConnector(BacnetConfig.model_validate(settings), ConnectorTools(log=log or Heard()))
    return connector.open()


async def values(session: BacnetSession, *addresses: str) -> list[tuple[Any, str]]:
    """Value and quality of each, asked for now."""
    return [(sample.value, sample.quality.label) for sample in await session.read([tag(text) for text in addresses])]
