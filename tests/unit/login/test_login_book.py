"""What others change in the book of log-ins is known to the hub, however late it is stored after it was sent."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from millstream.login._book import LOOKS_MAX, LoginBook, user_subject
from millstream.login._records import LoginUser
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

    def store(self, payload: bytes, seq: int) -> None:
        self.stored[SUBJECT] = Received(SUBJECT, payload, None, seq, 0)


def _book() -> tuple[LoginBook, _Store]:
    connection: Any = SimpleNamespace(replicas=1)
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
    changed = [user.epoch for _ in range(LOOKS_MAX + 3) for user in await book.refresh()]
    assert changed == [1]
    assert store.looks == LOOKS_MAX
