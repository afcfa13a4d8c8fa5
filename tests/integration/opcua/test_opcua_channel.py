"""The keys of a secure channel are renewed under a running session."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from pathlib import Path

import pytest
from opcua_certificates import make_certificate, secured
from opcua_kit import CountingRelay, StartPlant, counts_of

from millstream.connectors.opcua import OpcUaConfig, OpcUaConnector
from millstream.kernel import SystemClock
from millstream.model import Sample
from millstream.sdk import ConnectorTools, Tag

LIFETIME_S = 8.0
SPEED = 4  # of the connector's clock: it renews long before the server would give the channel up
# That is each 1.5 s: asyncua knows the key before the newest, so a server may be two renewals late, and no more.


class HastyClock(SystemClock):
    """Runs ahead, so that renewals come often and a slow machine is no reason for one that is too late."""

    def monotonic_ns(self) -> int:
        """Monotonic nanoseconds, too many of them."""
        return SPEED * time.monotonic_ns()


async def follow(connector: OpcUaConnector, tag: Tag, relay: CountingRelay) -> list[Sample]:
    """What one session brings while the first keys and several after them come to their end."""
    samples: list[Sample] = []
    begun_s = time.monotonic()
    async with (
        asyncio.timeout(240),
        connector.open() as session,
        aclosing(session.stream([tag], None)) as stream,
    ):
        async for batch in stream:
            samples += batch.samples
            if time.monotonic() - begun_s > 1.5 * LIFETIME_S and relay.channels_opened >= 5:
                break
    assert session.take_source_gaps() == 0
    return samples


def hasty_connector(endpoint: str, security: dict[str, str]) -> OpcUaConnector:
    """One whose keys live for a few seconds."""
    config = {
        "endpoint": endpoint,
        "security": security,
        "channel_lifetime": f"{LIFETIME_S}s",
        "request_timeout": "60s",
    }
    return OpcUaConnector(OpcUaConfig.model_validate(config), ConnectorTools(clock=HastyClock()))


@pytest.mark.needs("node-opcua")
async def test_node_opcua_renews_keys_without_losing_or_repeating_a_value(
    start_node_server: StartPlant, tmp_path: Path
) -> None:
    server = start_node_server("secure", "counter")
    certificate, key = make_certificate(tmp_path, "client")
    async with CountingRelay(server.ready["port"]) as relay:
        connector = hasty_connector(relay.endpoint, secured(certificate, key))
        samples = await follow(connector, Tag("counter", "nsu=urn:counter;s=counter", 0.0, 0.1), relay)
    values = counts_of(samples)["counter"]
    assert len(values) > 20
    assert values == list(range(values[0], values[0] + len(values)))
    assert relay.connections == 2  # one asks for the server's certificate, one is the session


async def test_asyncua_renews_keys_without_losing_or_repeating_a_value(start_plant: StartPlant, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "client")
    theirs, their_key = make_certificate(tmp_path, "server", "urn:freeopcua:python:server")
    plant = start_plant("--tags", "1", "--certificate", str(theirs), "--private-key", str(their_key))
    async with CountingRelay(plant.ready["port"]) as relay:
        security = secured(certificate, key, "aes256_sha256_rsa_pss", server_certificate=str(theirs))
        tag = Tag("counter", plant.ready["tags"][0], 0.05, 0.1)
        samples = await follow(hasty_connector(relay.endpoint, security), tag, relay)
    values = counts_of(samples)["counter"]
    assert values == list(range(values[0], values[0] + len(values)))
    assert relay.connections == 1
