"""Log-ins on their way: whoever of a hub's members asks first has one, once, and each goes after its time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from trust_site import until

from millstream.bus import NatsServer, ServerSettings, StreamApi, ensure_stream
from millstream.kernel import AuthError, SystemClock, Unreachable
from millstream.login import OidcDesk, OidcProvider
from millstream.login._begun import COUNT_MAX, LIFE_S, STREAM, SUBJECT, Begun, BegunBook, begun_stream

ISSUER = "https://provider.example"
ROUNDS = 40


class SetClock(SystemClock):
    """Moved by hand."""

    at_s = 0

    def now_ns(self) -> int:
        return self.at_s * 10**9


def _begun(browser: str = "b") -> Begun:
    return Begun(
        provider="corp", browser=browser, nonce="n", verifier="v", redirect_uri="https://hub.example", expires_s=LIFE_S
    )


async def test_of_two_members_that_ask_at_once_one_has_it_and_none_again(tmp_path: Path) -> None:
    async with (
        NatsServer(ServerSettings("s1"), tmp_path, clock=SystemClock()) as server,
        server.connect("first") as one, server.connect("second") as two,
    ):  # fmt: skip
        first, second = BegunBook(one), BegunBook(two)
        with pytest.raises(Unreachable, match="cannot be kept"):
            await first.put("early", _begun())  # nobody has made the stream
        await first.prepare()
        for number in range(ROUNDS):
            state = f"state {number}"
            await first.put(state, _begun())
            found = await asyncio.gather(first.take(state), second.take(state), second.take(state), first.take(state))
            assert [one for one in found if one is not None] == [_begun()]
            assert await second.take(state) is None
        assert await first.take("never begun") is None

        # Of many the oldest makes room: whoever floods the door fills nothing.
        api = StreamApi(one)
        await first.put("oldest", _begun())
        for number in range(COUNT_MAX):
            one.publish(f"{SUBJECT}.flood{number}", b"{}")
        await until(lambda: _is_at_bound(api), "all are stored")
        assert await second.take("oldest") is None

        # What is over is gone.
        await ensure_stream(api, {**begun_stream(), "max_age": 200_000_000, "duplicate_window": 200_000_000})
        await first.put("old", _begun())
        await until(lambda: _is_empty(api), "what is old is gone")
        assert await second.take("old") is None


async def _is_at_bound(api: StreamApi) -> bool:
    state = await api.state(STREAM)
    return state.messages == COUNT_MAX and state.last_seq >= 2 * ROUNDS + 1 + COUNT_MAX


async def _is_empty(api: StreamApi) -> bool:
    return (await api.state(STREAM)).messages == 0


async def test_one_that_is_over_by_the_clock_of_the_member_it_comes_back_to_is_refused(tmp_path: Path) -> None:
    async with (
        NatsServer(ServerSettings("s1"), tmp_path, clock=SystemClock()) as server, server.connect("hub") as connection,
    ):  # fmt: skip
        book, clock = BegunBook(connection), SetClock()
        await book.prepare()
        corp = OidcProvider("corp", ISSUER, "hub", ())
        desk = OidcDesk([corp], dict, book, clock)
        refused = "begun here", "provider refused"
        for at_s, said in ((LIFE_S, refused[1]), (LIFE_S + 1, refused[0])):
            clock.at_s = at_s
            digest = "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"  # SHA-256 of "b"
            await book.put("state", _begun(digest))
            with pytest.raises(AuthError, match=said):
                await desk.finish("corp", {"state": "state", "error": "access_denied"}, "b")
            await connection.request("$JS.API.STREAM.PURGE.P_BEGUN")
