"""What sites prove signatures with, as hubs hand it on: of two at once the newer file of the operator stays."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from trust_site import now_s

from millstream.bus import NatsServer, RawConnection, ServerSettings, StreamApi
from millstream.hub._registrar import SERIAL_HEADER, Registrar
from millstream.kernel import AuthError, SystemClock
from millstream.protocols.nats_wire import parse_headers
from millstream.protocols.trust_chain import CHAIN_STREAM, CHAIN_SUBJECT, Chain, encode_chain
from millstream.trust import make_trust

ROUNDS = 25


class Hub:
    """One member, by its own file of the operator."""

    def __init__(self, connection: RawConnection, operator: Any) -> None:
        self._operator = operator
        tenant: Any = SimpleNamespace(name="acme")

        async def audit(what: str, outcome: str, data: dict[str, object]) -> None:
            """Nobody listens."""

        self.registrar = Registrar(
            connection, lambda: tenant, lambda: operator.operator_public, SystemClock(), audit
        )  # fmt: skip

    async def hand_on(self, serial: int, people: str = "") -> None:
        """The chain of a file."""
        await self.registrar.hand_on(self.chain(serial, people), serial)

    def chain(self, serial: int, people: str = "") -> bytes:
        """As it is stored."""
        return encode_chain(Chain(self._operator.operator_token, people or f"people of {serial}"))


async def _stands(connection: RawConnection) -> tuple[bytes, str]:
    found = await StreamApi(connection).last(CHAIN_STREAM, CHAIN_SUBJECT)
    assert found is not None
    return found.payload, parse_headers(found.headers).values[SERIAL_HEADER]


def _refused(outcomes: Sequence[object]) -> list[str]:
    assert all(outcome is None or isinstance(outcome, AuthError) for outcome in outcomes), outcomes
    return [str(outcome) for outcome in outcomes if outcome is not None]


async def test_of_two_that_hand_on_at_once_the_newer_stays_and_the_other_is_told_what_to_do(tmp_path: Path) -> None:
    operator = make_trust("op", "nats://127.0.0.1:1", now_s())
    async with (
        NatsServer(ServerSettings("s1"), tmp_path, clock=SystemClock()) as server,
        server.connect("first") as one, server.connect("second") as two,
    ):  # fmt: skip
        a, b = Hub(one, operator), Hub(two, operator)
        await a.registrar.prepare()
        # A hub of before this wrote no number: what it says gives way.
        await one.request(CHAIN_SUBJECT, a.chain(0))
        for serial in range(1, 2 * ROUNDS, 2):
            outcomes = await asyncio.gather(b.hand_on(serial), a.hand_on(serial + 1), return_exceptions=True)
            assert await _stands(one) == (a.chain(serial + 1), str(serial + 1))
            assert all("newer file of the operator" in text for text in _refused(outcomes))
        newest = 2 * ROUNDS
        await b.hand_on(newest - 1, f"people of {newest}")  # what stands there already is no news
        with pytest.raises(AuthError, match=f"serial {newest}, got serial {newest - 1}; let the operator renew"):
            await b.hand_on(newest - 1)

        # Two files of one number, from two copies of the key store: one is there, the other is told.
        for serial in range(newest + 1, newest + ROUNDS):
            outcomes = await asyncio.gather(
                a.hand_on(serial, f"{serial}x"), b.hand_on(serial, f"{serial}y"), return_exceptions=True
            )
            (text,) = _refused(outcomes)
            assert "two different files under one number" in text
            assert await _stands(one) in ((a.chain(serial, f"{serial}{which}"), str(serial)) for which in "xy")

        # Another operator has taken the hub over: numbers begin anew.
        other = make_trust("next", "nats://127.0.0.1:1", now_s())
        c = Hub(one, other)
        await c.hand_on(1)
        assert await _stands(one) == (c.chain(1), "1")
