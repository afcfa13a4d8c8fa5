"""A Tryton server over its JSON-RPC: sessions, records, and the quantities of productions.

Each call is one transaction of Tryton: all of it is stored, or nothing.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import msgspec

from millstream.config import ConfirmConfig, ReadConfig, TrytonSystem
from millstream.erp._production import confirm_production
from millstream.erp._rows import fields_of
from millstream.erp._systems import Confirmation, Page, Refused
from millstream.erp._web import Web, WebOptions, open_web, said
from millstream.kernel import AuthError, Clock, ConfigError, ProtocolViolation, Unreachable
from millstream.sdk import TlsFiles

_BUSY = ("is locked", "could not serialize", "deadlock")  # what its databases say when others are faster


class Changed(Unreachable):
    """Somebody else wrote the record between our look and our write: nothing of ours was stored."""

    default_code = "MS-2809"


class TrytonServer:
    """One database of a server, as a source and a sink. Made by `open_tryton`."""

    def __init__(self, web: Web, system: TrytonSystem, password: str) -> None:
        self._web, self._system, self._password = web, system, password
        self._url = f"{system.url.rstrip('/')}/{quote(system.database, safe='')}/"
        self._session: str | None = None
        self._context: Mapping[str, Any] = {}

    # -- calls --------------------------------------------------------------------------------------------------------

    async def call(self, method: str, *params: Any, context: Mapping[str, Any] | None = None) -> Any:
        """``model.production.read`` and so on; the context of the user is added. A session that has ended is begun
        again. Raises Unreachable, Changed, AuthError, Refused, ProtocolViolation."""
        for is_last in (False, True):
            if self._session is None:
                await self._log_in()
            try:
                return await self._ask(method, [*params, {**self._context, **(context or {})}], self._session)
            except AuthError:
                self._session = None  # it was taken away, or has grown old
                if is_last:
                    raise
        raise AssertionError("the second time returns or raises")

    async def _log_in(self) -> None:
        where = f"{self._url} as {self._system.user}"
        try:
            found = await self._ask(
                "common.db.login", [self._system.user, {"password": self._password}, "en"], None, headers={}
            )
        except AuthError as error:
            raise AuthError("Tryton refuses the log-in", where=where, code="MS-2801") from error
        if not isinstance(found, list) or len(found) < 2:
            raise ProtocolViolation("not what Tryton says to a log-in", where=where, code="MS-2802")
        user_id, key = found[0], found[1]
        raw = f"{self._system.user}:{user_id}:{key}".encode()
        self._session = base64.b64encode(raw).decode()
        self._context = await self._ask("model.res.user.get_preferences", [True, {}], self._session)

    async def _ask(
        self, method: str, params: Sequence[Any], session: str | None, headers: Mapping[str, str] | None = None
    ) -> Any:  # fmt: skip
        body = msgspec.json.encode({"id": 1, "method": method, "params": list(params)}, enc_hook=_encoded)
        own = {"Authorization": f"Session {session}"} if session is not None else {}
        answer = await self._web.ask("POST", self._url, body, {**own, **(headers or {})})
        if answer.status == 403:
            raise AuthError("Tryton does not let this user do that", where=method, code="MS-2801")
        if answer.status == 404:
            raise ConfigError("no such database", where=self._url, code="MS-2805")
        if answer.status != 200:
            raise Refused("Tryton refuses the call", where=method, got=said(answer))
        document = answer.json()
        if not isinstance(document, dict) or not {"result", "error"} & set(document):
            raise ProtocolViolation("not an answer of JSON-RPC", where=self._url, got=said(answer), code="MS-2802")
        if document.get("error") is not None:
            raise _fault(document["error"], method)
        return _decoded(document["result"])

    # -- source and sink ----------------------------------------------------------------------------------------------

    async def pages(self, read: ReadConfig, position: str | None) -> AsyncGenerator[Page, None]:
        """All records of the domain: what a record says may change without its own time of change."""
        tryton = read.tryton
        if tryton is None:
            raise AssertionError("checked with the file")
        names = sorted({"id", *fields_of(read)})
        after = 0
        while True:
            where: list[Any] = [["id", ">", after], *tryton.where]  # records that come and go meanwhile move no page
            found = await self.call(
                f"model.{tryton.model}.search_read", where, 0, read.page_rows, [["id", "ASC"]], names
            )
            rows = [_nested(row) for row in found]
            yield Page(rows)
            if len(rows) < read.page_rows:
                return
            after = max(int(row["id"]) for row in rows)

    async def confirm(self, config: ConfirmConfig, confirmation: Confirmation) -> str:
        """Set the quantities of the production's outputs."""
        if config.tryton is None:
            raise AssertionError("checked with the file")
        return await confirm_production(self, config.tryton, confirmation)


def _fault(error: Any, method: str) -> Exception:
    """What Tryton says went wrong: ``[kind, [words]]``, or the words and a traceback."""
    kind, rest = (error[0], error[1:]) if isinstance(error, list) and error else (str(error), [])
    words = " ".join(_words(rest)).strip()[:300]
    if kind == "ConcurrencyException":
        return Changed("somebody else has just changed the record", where=method, got=words)
    if kind in ("UserError", "UserWarning"):
        return Refused("Tryton refuses it", where=method, got=words)
    if any(part in str(kind).lower() for part in _BUSY):
        return Unreachable("Tryton's database is busy", where=method, got=str(kind)[:300], code="MS-2800")
    return Refused("Tryton could not do it", where=method, got=str(kind)[:300])


def _words(part: Any) -> list[str]:
    if isinstance(part, list):
        return [word for each in part for word in _words(each)]
    return [str(part)] if isinstance(part, str) else []


def _nested(row: Mapping[str, Any]) -> dict[str, Any]:
    """``product.`` beside ``product`` is what it points to; so it takes its place."""
    found = {name: value for name, value in row.items() if not name.endswith(".")}
    for name, value in row.items():
        if name.endswith("."):
            found[name[:-1]] = _nested(value) if isinstance(value, Mapping) else value
    return found


def _decoded(found: Any) -> Any:
    """Values of Tryton's own classes."""
    if isinstance(found, list):
        return [_decoded(each) for each in found]
    if not isinstance(found, dict):
        return found
    parts = {name: value for name, value in found.items() if name != "__class__"}
    try:
        match found.get("__class__"):
            case "date":
                return date(**parts)
            case "datetime":
                return datetime(**parts, tzinfo=UTC)
            case "time":
                return time(**parts).isoformat()
            case "timedelta":
                return timedelta(seconds=parts["seconds"]).total_seconds()
            case "Decimal":
                return Decimal(parts["decimal"])
            case "bytes":
                return None
            case _:
                return {name: _decoded(value) for name, value in found.items()}
    except (TypeError, ValueError, KeyError, ArithmeticError) as error:
        raise ProtocolViolation("not a value of Tryton", got=repr(found)[:80], code="MS-2802") from error


def _encoded(value: Any) -> Any:
    if isinstance(value, Decimal):
        return {"__class__": "Decimal", "decimal": str(value)}
    raise NotImplementedError(f"{type(value).__name__} is never sent")


@asynccontextmanager
async def open_tryton(system: TrytonSystem, clock: Clock) -> AsyncIterator[TrytonServer]:
    """The server; it is asked for a session with the first call. Raises ConfigError."""
    password = await asyncio.to_thread(system.password.resolve)
    tls = TlsFiles(ca_file=system.ca_file) if system.url.startswith("https") else None
    async with open_web(WebOptions(system.timeout, tls=tls), clock) as web:
        yield TrytonServer(web, system, password)
