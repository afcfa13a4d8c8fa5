"""What others change in the book of log-ins is known to the hub, however late it is stored after it was sent."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from millstream.login._book import LOOKS_MAX, LoginBook, user_subject
from millstream.login._records import LoginUser, Session
from millstream.sdk import Received

SUBJECT = user_subject("acme", "eve")


class _Store:
    """A stream that holds what it is told to."""

    def __init__(self) -> None:
        self.stored: dict[str, Received] = {}
        self.looks = 0

    async def last(self, _: str, subject: str) -> Received | None:
        self.looks += 1
        return self.stored.get(subject)

    async def next(self, _: str, seq: int, __: str) -> Received | None:
        return min((one for one in self.stored.values() if one.seq >= seq), key=lambda one: one.seq, default=None)

    def store(self, payload: bytes, seq: int, subject: str = SUBJECT) -> None:
        self.stored[subject] = Received(subject, payload, None, seq, 0)


def _book(replicas: int = 1) -> tuple[LoginBook, _Store]:
    connection: Any = SimpleNamespace(replicas=replicas)
    book, store = LoginBook(connection), _Store()
    book._api = cast(Any, store)
    return book, store


def _user(epoch: int, *, is_removed: bool = False) -> bytes:
    return msgspec.json.encode(
        LoginUser(
            tenant="acme", name="eve", role="viewer", password="-", changed_s=0, epoch=epoch, is_removed=is_removed
        )
    )


def _hear(book: LoginBook, payload: bytes) -> None:
    book._on_change([(1, SUBJECT.encode(), b"", None, payload)])


async def _refresh_until(book: LoginBook, is_so: Any) -> None:
    async with asyncio.timeout(60):
        while not is_so():
            await book.told(3600.0)  # the next sweep is far away
            await book.refresh()


async def test_a_user_that_is_stored_after_it_was_heard_of_is_found() -> None:
    book, store = _book()
    _hear(book, _user(1))
    assert await book.refresh() == []
    asyncio.get_running_loop().call_later(0.2, store.store, _user(1), 1)
    await _refresh_until(book, lambda: book.user("acme", "eve") is not None)
    _hear(book, _user(2, is_removed=True))
    assert await book.refresh() == []
    assert book.user("acme", "eve") is not None
    store.store(_user(2, is_removed=True), 2)
    await _refresh_until(book, lambda: book.user("acme", "eve") is None)
    looks = store.looks
    assert await book.refresh() == []
    assert store.looks == looks, "looked for what was found"


async def test_what_was_refused_is_looked_for_within_a_bound() -> None:
    book, store = _book()
    store.store(_user(1), 1)
    _hear(book, _user(7))
    changed = [found.user.epoch for _ in range(LOOKS_MAX + 3) for found in await book.refresh()]
    assert changed == [1]
    assert store.looks == LOOKS_MAX


def _session(ended_s: int | None = None) -> bytes:
    return msgspec.json.encode(
        Session(id="s1", tenant="acme", name="eve", role="viewer", created_s=0, expires_s=9, ended_s=ended_s)
    )


def _is_open(book: LoginBook) -> bool:
    session = book.session("s1")
    return session is not None and session.ended_s is None


async def test_a_member_believes_a_session_when_it_hears_of_it_and_no_session_begins_again() -> None:
    book, store = _book(3)
    book._on_session([(1, b"login.session.acme.s1", b"", None, _session())])
    assert _is_open(book)
    book._on_session([(1, b"login.session.acme.s1", b"", None, _session(ended_s=5))])
    assert not _is_open(book)
    store.store(_session(), 4, "login.session.acme.s1")  # what was stored before the end is read after it
    await book.refresh()
    assert not _is_open(book)


async def test_a_member_reads_what_it_has_not_heard_and_tells_only_what_it_has() -> None:
    book, store = _book(3)
    store.store(_session(ended_s=5), 2, "login.session.acme.s1")
    store.store(_user(1), 3)
    assert await book.refresh() == []  # it was away: others have told it
    assert book.user("acme", "eve") is not None
    assert book.session("s1") is not None
    assert not _is_open(book)
    _hear(book, _user(2))
    assert await book.refresh() == []
    store.store(_user(2), 7)
    ((user, before),) = await book.refresh()
    assert before is not None
    assert (before.epoch, user.epoch) == (1, 2)
    _hear(book, _user(2))  # a code of the second factor was used: nothing else is different
    store.store(_user(2), 8)
    assert await book.refresh() == []
