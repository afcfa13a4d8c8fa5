"""The local users of a hub in operator mode, as who runs the hub keeps them: on its machine, with its own log-in."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from millstream.bus import RawConnection
from millstream.client._node import PROVIDER, find_node
from millstream.kernel import ConfigError, NotFoundError, SystemClock, Unreachable
from millstream.login import (
    LoginBook,
    LoginUser,
    check_paths,
    check_provider,
    check_role,
    check_user_name,
    hash_password,
    new_secret,
)
from millstream.trust import KEPT, HubTrust, read_bundle


@dataclass(frozen=True, slots=True)
class LoginUsers:
    """What may be done with them. Each change is told to the hub, which writes the audit event and ends sessions."""

    book: LoginBook
    trust: HubTrust
    who: str
    origin: str = ""

    def of(self, tenant: str | None = None) -> list[LoginUser]:
        """By tenant and name."""
        return self.book.users(tenant)

    async def add(self, tenant: str, name: str, password: str, *, role: str, paths: list[str]) -> LoginUser:
        """A new user. Raises ConfigError."""
        paths = self._check(tenant, role, paths)
        if self.book.user(tenant, check_user_name(name)) is not None:
            raise ConfigError("a user of this name exists", where=tenant, got=name, code="MS-2120")
        return await self.book.put_user(
            LoginUser(
                tenant=tenant,
                name=name,
                role=check_role(role),
                paths=paths,
                password=await asyncio.to_thread(hash_password, password, name),
                epoch=self.book.epoch_after(tenant, name),
                changed_s=_now_s(),
                changed_by=self.who,
                changed_from=self.origin,
            )
        )

    async def set_password(self, tenant: str, name: str, password: str) -> LoginUser:
        """A new password; sessions of the user end. Raises NotFoundError, ConfigError."""
        hashed = await asyncio.to_thread(hash_password, password, name)
        return await self._change(tenant, name, password=hashed)

    async def set_second_factor(self, tenant: str, name: str, *, is_wanted: bool) -> LoginUser:
        """A new second factor, or none; sessions of the user end. Raises NotFoundError."""
        return await self._change(tenant, name, totp=new_secret() if is_wanted else None, totp_step=0)

    async def set_role(self, tenant: str, name: str, role: str, paths: list[str]) -> LoginUser:
        """Another role, or other paths; sessions of the user end. Raises NotFoundError, ConfigError."""
        paths = self._check(tenant, role, paths)
        return await self._change(tenant, name, role=check_role(role), paths=paths)

    async def remove(self, tenant: str, name: str) -> LoginUser:
        """The user is gone, and so are its sessions. Raises NotFoundError."""
        return await self._change(tenant, name, is_removed=True, password="", totp=None)

    async def _change(self, tenant: str, name: str, **changes: object) -> LoginUser:
        user = self.book.user(tenant, name)
        if user is None:
            raise NotFoundError(
                "no user of this name", where=tenant, got=name, code="MS-2120",
                expected=", ".join(one.name for one in self.book.users(tenant)[:20]) or "none is there yet",
            )  # fmt: skip
        about = {"epoch": user.epoch + 1, "changed_s": _now_s(), "changed_by": self.who, "changed_from": self.origin}
        return await self.book.put_user(msgspec.structs.replace(user, **about, **changes))

    def _check(self, tenant: str, role: str, paths: list[str]) -> list[str]:
        """The paths in their one form."""
        if tenant == PROVIDER:
            check_provider(role, paths)
            return []
        if tenant not in self.trust.tenants:
            raise NotFoundError(
                "no tenant of this name", got=tenant,
                expected=", ".join([*sorted(self.trust.tenants), f"or {PROVIDER} for who runs the hub"]),
            )  # fmt: skip
        return check_paths(paths, self.trust.tenants[tenant].place)


@asynccontextmanager
async def login_users(
    node: str | os.PathLike[str] | None, who: str, origin: str = ""
) -> AsyncIterator[LoginUsers]:  # fmt: skip
    """The users of the hub whose data directory `node` is (None: the one near here), as `who` changes them from an
    address. Raises PlantError."""
    found = find_node(node, tenant=PROVIDER)
    if found.tenants is None:
        raise ConfigError(
            "this node has no tenants", where=str(found.file or found.nats_url), code="MS-2120",
            next_step="users that log in are for a hub with `trust` in its file",
        )  # fmt: skip
    trust = _trust_of(found.tenants.parent / KEPT)
    async with RawConnection(found.nats_url, credentials=found.credentials) as connection:
        book = LoginBook(connection)
        await _open_book(book, is_member=found.member is not None)
        yield LoginUsers(book, trust, who, origin)


async def _open_book(book: LoginBook, *, is_member: bool) -> None:
    """Read it; where there is none yet, make it. At a hub of several boxes it is made by who leads: on how many of them
    it is kept is known there."""
    try:
        await book.load()
    except Unreachable:
        if is_member:
            raise
        await book.prepare()
        await book.load()


def _trust_of(bundle: Path) -> HubTrust:
    """What the hub has taken from its operator. Raises ConfigError, AuthError."""
    try:
        text = bundle.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "what the hub knows of its tenants cannot be read", where=str(bundle), got=str(error), code="MS-2120",
            next_step="run it on the hub's machine, as the hub's user",
        ) from error  # fmt: skip
    return read_bundle(text, SystemClock().now_ns() / 1e9)


def _now_s() -> int:
    return SystemClock().now_ns() // 1_000_000_000
