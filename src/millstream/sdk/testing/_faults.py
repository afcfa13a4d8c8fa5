"""Checks with a fault layer between the session and its device: late, halved, torn and mangled answers, and silence.

The layer itself is given to the kit, which knows no network: anything that stands in front of a TCP port and obeys.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from millstream.kernel import ProtocolViolation, Unreachable
from millstream.sdk import Batch, Connector, Session, Streamed
from millstream.sdk.testing._case import ConformanceCase, NotApplicable, Peer
from millstream.sdk.testing._drive import batches_of, build, check_values, collect_from, flatten, producing, run_once

ENDURED_S = 2.0  # of a stream in which a wrong length need not show: its frames say how long they are, or do not
URL_OPTIONS = ("url", "endpoint")


class WireFault(StrEnum):
    """What a wire does to the device's answers."""

    SLOW = "slow"
    HALF_FRAMES = "half_frames"
    WRONG_LENGTH = "wrong_length"
    TORN = "torn"
    """The first half of an answer, then the connection is cut."""
    SILENCE = "silence"
    """Nothing any more, but the connection stays."""


class FaultyWire(Protocol):
    """A wire to one device. It behaves until told otherwise."""

    @property
    def port(self) -> int:
        """Where to connect on loopback instead of the device."""
        ...

    @property
    def treated_count(self) -> int:
        """Answers that it did something to."""
        ...

    def misbehave(self, *faults: WireFault) -> None:
        """Do this to every answer from now on."""
        ...

    def behave(self) -> None:
        """Pass everything on again, at once."""
        ...


FaultLayer: TypeAlias = Callable[[str, int], AbstractAsyncContextManager[FaultyWire]]
"""Opens a wire to a TCP host and port."""


def tcp_address(peer: Peer) -> tuple[str, int]:
    """Where the peer takes connections, from its configuration. Raises NotApplicable when it does not."""
    config = peer.config
    for name in URL_OPTIONS:
        parts = urlsplit(str(config.get(name, "")))
        if parts.hostname and parts.port:
            return parts.hostname, parts.port
    host, port = config.get("host"), config.get("port")
    if not peer.is_tcp or not isinstance(host, str) or not isinstance(port, int):
        raise NotApplicable("the session does not connect to its source by TCP")
    return host, port


def through(peer: Peer, port: int) -> Mapping[str, Any]:
    """The peer's configuration, by way of a wire."""
    for name in URL_OPTIONS:
        if name in peer.config:
            parts = urlsplit(str(peer.config[name]))
            return {**peer.config, name: urlunsplit(parts._replace(netloc=f"127.0.0.1:{port}"))}
    return {**peer.config, "host": "127.0.0.1", "port": port}


async def half_frames(case: ConformanceCase, layer: FaultLayer) -> None:
    """Answers that come late and in two parts are put together, and the values are whole."""
    async with case.peer() as peer, layer(*tcp_address(peer)) as wire:
        connector = build(case, peer, config=through(peer, wire.port))
        wire.misbehave(WireFault.SLOW, WireFault.HALF_FRAMES)
        await _all_good(case, peer, connector, "answers in two parts")
        if peer.extremes:
            samples = await run_once(connector, peer, [item.tag for item in peer.extremes], case.deadline_s)
            check_values(peer.extremes, samples)
        assert wire.treated_count, "no answer came in two parts"


async def broken_answers(case: ConformanceCase, layer: FaultLayer) -> None:
    """Torn and mangled answers, and none at all, end the session with an error of ours; the next one is good again."""
    async with case.peer() as peer, layer(*tcp_address(peer)) as wire:
        connector = build(case, peer, config=through(peer, wire.port))
        for fault in (WireFault.TORN, WireFault.WRONG_LENGTH, WireFault.SILENCE):
            await _suffer(case, peer, connector, wire, fault)
            wire.behave()
            await _all_good(case, peer, connector, f"after {fault.value}")


async def _all_good(case: ConformanceCase, peer: Peer, connector: Connector, when: str) -> None:
    missing = {tag.key for tag in peer.tags}
    try:
        async with (
            asyncio.timeout(case.deadline_s),
            producing(peer),
            connector.open() as session,
            aclosing(batches_of(session, peer.tags)) as batches,
        ):
            async for batch in batches:
                missing -= {sample.tag for sample in flatten(batch) if sample.quality.is_good}
                if not missing:
                    return
    except TimeoutError:
        pass
    raise AssertionError(f"{when}: no good sample of {', '.join(sorted(missing))}")


async def _suffer(case: ConformanceCase, peer: Peer, connector: Connector, wire: FaultyWire, fault: WireFault) -> None:
    """One session whose answers are spoilt once it has given good values."""
    before = wire.treated_count
    try:
        async with (
            connector.open() as session,
            producing(peer),
            aclosing(batches_of(session, peer.tags)) as batches,
        ):
            await collect_from(batches, peer.tags, deadline_s=case.deadline_s)
            if fault is WireFault.SILENCE and isinstance(session, Streamed):
                return  # which signs of life it has, and how often, is the protocol's
            wire.misbehave(fault)
            await _trace(case, session, batches, fault)
    except (Unreachable, ProtocolViolation):
        pass
    assert wire.treated_count > before, f"{fault.value}: no answer was spoilt"


async def _trace(
    case: ConformanceCase, session: Session, batches: AsyncGenerator[Batch, None], fault: WireFault
) -> None:
    """Until something shows. Raises what the session raises; AssertionError when nothing shows in time."""
    may_endure = fault is WireFault.WRONG_LENGTH
    try:
        async with asyncio.timeout(ENDURED_S if may_endure and isinstance(session, Streamed) else case.deadline_s):
            async for batch in batches:
                if batch.frames_bad or any(sample.quality.is_bad for sample in batch.samples):
                    return
    except TimeoutError:
        if may_endure and isinstance(session, Streamed):
            return
        raise AssertionError(f"{fault.value}: neither an error nor a bad sample in {case.deadline_s} s") from None
    raise AssertionError(f"{fault.value}: the source ended without an error")


FAULT_CHECKS: MappingProxyType[str, Callable[[ConformanceCase, FaultLayer], Awaitable[None]]] = MappingProxyType(
    {check.__name__: check for check in (half_frames, broken_answers)}
)
