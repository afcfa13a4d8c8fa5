"""What one member of a hub of several boxes does about log-ins that it does not know yet, or can no longer know."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from millstream.kernel import AuthError, SystemClock, Unreachable
from millstream.login import LoginAround, LoginDesk, LoginOptions, LoginUser, Session, TooManyAttempts
from millstream.login._attempts import USER_TRIES
from millstream.login._cutter import Cutter
from millstream.login._desk import BEHIND_S_MAX, _digest
from millstream.trust import Person, new_key, person_token

TOKEN = "what the browser holds"


class SetClock(SystemClock):
    """Stands still until it is moved."""

    up_ns = 10**12

    def monotonic_ns(self) -> int:
        return self.up_ns

    def now_ns(self) -> int:
        return 0


def _desk(clock: SetClock) -> LoginDesk:
    connection: Any = SimpleNamespace(replicas=3)
    trust: Any = SimpleNamespace(tenants={"acme": None})

    async def audit(*told: object, **more: object) -> None:
        """Nobody listens."""

    around = LoginAround(connection, connection, lambda: trust, cast(Any, audit), lambda *refused: None)
    return LoginDesk(around, LoginOptions(), clock)


def _user(epoch: int) -> LoginUser:
    return LoginUser(tenant="acme", name="eve", role="viewer", password="-", changed_s=0, epoch=epoch)


def _hear(desk: LoginDesk, epoch: int) -> None:
    """Another member has opened a session for this state of the user."""
    session = Session(
        id=_digest(TOKEN), tenant="acme", name="eve", role="viewer", epoch=epoch, created_s=0, expires_s=9
    )
    desk.book._on_session([(1, b"login.session.acme.s1", b"", None, msgspec.json.encode(session))])


def _read(desk: LoginDesk, clock: SetClock) -> None:
    desk.book.is_loaded, desk._read_ns = True, clock.up_ns


def test_nobody_is_let_in_by_a_member_that_has_not_read_or_has_not_reached_the_others_for_long() -> None:
    clock = SetClock()
    desk = _desk(clock)
    desk.book._users[("acme", "eve")] = (_user(1), 1)
    _hear(desk, 1)
    with pytest.raises(Unreachable, match="not known here"):
        desk.find(TOKEN)
    _read(desk, clock)
    assert desk.find(TOKEN).name == "eve"
    clock.up_ns += int(BEHIND_S_MAX * 1e9) + 1
    with pytest.raises(Unreachable, match="not known here"):
        desk.find(TOKEN)


def test_a_session_for_a_state_of_its_user_that_is_not_read_yet_waits_and_for_an_older_one_is_over() -> None:
    clock = SetClock()
    desk = _desk(clock)
    _read(desk, clock)
    desk.book._users[("acme", "eve")] = (_user(1), 1)
    _hear(desk, 2)
    with pytest.raises(Unreachable, match="not known here"):
        desk.find(TOKEN)
    assert desk._reason_to_end(desk.book.sessions()[0]) is None
    desk.book._users[("acme", "eve")] = (_user(2), 2)
    assert desk.find(TOKEN).epoch == 2
    desk.book._users[("acme", "eve")] = (_user(3), 3)
    with pytest.raises(AuthError):
        desk.find(TOKEN)


def test_a_connection_of_a_log_in_that_is_not_known_is_cut_only_when_it_is_not_known_later_either() -> None:
    said: list[tuple[str, bytes]] = []
    known: dict[str, bool] = {}
    system: Any = SimpleNamespace(inbox="_INBOX.hub", publish=lambda subject, body, reply: said.append((subject, body)))
    cutter = Cutter(system, known.get)
    account, user = new_key("account"), new_key("user")
    for number in (1, 2):
        person = Person(name="eve", role="viewer", paths=[], sites=[], login=f"s{number}")
        jwt = person_token(account.seed, account.public, user.public, person, now_s=0, expires_s=9)
        payload = msgspec.json.encode({"server": {"id": "N1"}, "client": {"jwt": jwt, "id": number}})
        cutter._hear([(1, b"$SYS.ACCOUNT.A.CONNECT", b"", None, payload)])
    assert said == []
    doubts = cutter.take_doubts()
    known["s1"] = False
    cutter.settle(doubts)
    assert said == [("$SYS.REQ.SERVER.N1.KICK", b'{"cid":2}')]
    assert cutter.take_doubts() == []


async def test_guesses_at_one_member_are_counted_at_the_others() -> None:
    clock = SetClock()
    first, second = _desk(clock), _desk(clock)
    sent: list[bytes] = []
    provider: Any = first._around.provider
    provider.publish = lambda subject, payload: sent.append(payload)
    for _ in range(USER_TRIES):
        first._tell_attempt("acme", "eve", "10.0.0.1")
    messages = [(1, b"millstream.login.attempt", b"", None, payload) for payload in sent]
    first._hear_attempts(messages)  # its own, which it has counted itself
    assert first._attempts.take("acme", "eve", "10.0.0.2", 0).wait_s == 0
    second._hear_attempts(messages)
    _read(second, clock)
    with pytest.raises(TooManyAttempts):
        await second.log_in("acme", "eve", "a guess", "", "10.0.0.2")
    sent.clear()
    first._tell_attempt("acme", "eve", "10.0.0.1", is_right=True)
    second._hear_attempts([(1, b"millstream.login.attempt", b"", None, payload) for payload in sent])
    assert second._attempts.take("acme", "eve", "10.0.0.2", 0).wait_s == 0
