"""A server that answers with JSON: OData 2 and 4, and whatever pages in their ways."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from millstream.config import ConfirmConfig, ReadConfig, RestRead, RestSystem
from millstream.erp._rows import at
from millstream.erp._systems import Confirmation, Page, Refused, filled
from millstream.erp._web import Answer, Web, WebOptions, open_web, said
from millstream.kernel import Clock, ConfigError, ProtocolViolation
from millstream.sdk import TlsFiles

PAGES_MAX = 10_000  # of one look: ends a server that never says it is done


class RestServer:
    """One server, as a source and a sink. Made by `open_rest`."""

    def __init__(self, web: Web, system: RestSystem) -> None:
        self._web, self._url = web, system.url.rstrip("/")

    async def pages(self, read: ReadConfig, position: str | None) -> AsyncGenerator[Page, None]:
        """Page after page; the position is the highest value of the field that tells changes."""
        rest = read.rest
        if rest is None:
            raise AssertionError("checked with the file")
        high = position
        url: str | None = self._first(rest, position)
        seen: set[str] = set()
        for number in range(PAGES_MAX):
            paged = self._paged(url or "", rest, read, number)
            if url is None or paged in seen:
                return
            seen.add(paged)
            answer = await self._web.ask("GET", paged)
            if answer.status != 200:
                raise Refused("the system refuses the question", where=paged, got=said(answer), code="MS-2806")
            document = answer.json()
            rows = _rows(document, rest, answer)
            high = _higher(high, rest, rows)
            url = self._next(document, rest, answer, len(rows) == read.page_rows)
            # Rows of one look come in any order: only the whole look says up to where everything is taken.
            yield Page(rows, high if url is None else position)

    def _first(self, rest: RestRead, position: str | None) -> str:
        parameters = dict(rest.parameters)
        if rest.changed is not None and position is not None:
            parameters[rest.changed.parameter] = rest.changed.text.replace("{since}", position)
        return self._url + rest.path + _query(rest.path, parameters)

    @staticmethod
    def _paged(url: str, rest: RestRead, read: ReadConfig, number: int) -> str:
        numbers = {}
        if rest.top is not None:
            numbers[rest.top] = str(read.page_rows)
        if rest.skip is not None:
            numbers[rest.skip] = str(number * read.page_rows)
            return url + _query(url, numbers)
        return url + _query(url, numbers) if number == 0 else url

    def _next(self, document: Any, rest: RestRead, answer: Answer, is_full: bool) -> str | None:
        if rest.skip is not None:
            return self._first_again(answer, rest) if is_full else None
        found = at(document, rest.next) if rest.next is not None else None
        if not isinstance(found, str) or not found:
            return None
        url = urljoin(answer.url, found)
        if _origin(url) != _origin(self._url):
            raise ProtocolViolation(
                "the next page lies at another server, which gets no credentials of this one", where=answer.url,
                got=url[:200], code="MS-2802",
            )  # fmt: skip
        return url

    @staticmethod
    def _first_again(answer: Answer, rest: RestRead) -> str:
        """The address without the numbers of the page."""
        head, _, query = answer.url.partition("?")
        own = {quote(name, safe="$") for name in (rest.skip, rest.top) if name is not None}
        left = [part for part in query.split("&") if part.partition("=")[0] not in own]
        return f"{head}?{'&'.join(left)}" if left else head

    async def confirm(self, config: ConfirmConfig, confirmation: Confirmation) -> str:
        """One request with its key; 2xx means taken, and a known key that it was."""
        rest = config.rest
        if rest is None:
            raise AssertionError("checked with the file")
        escaped = {
            name: quote(value, safe="") if isinstance(value, str) else value
            for name, value in confirmation.values.items()
        }  # fmt: skip
        url = self._url + str(filled(rest.path, escaped))
        body = json.dumps(filled(rest.body, confirmation.values)).encode()
        answer = await self._web.ask(rest.method, url, body, {rest.key_header: confirmation.key})
        if 200 <= answer.status < 300:
            return "set"
        if answer.status in rest.known:
            return "known"
        raise Refused("the system refuses the confirmation", where=url, got=said(answer))


def _rows(document: Any, rest: RestRead, answer: Answer) -> list[Mapping[str, Any]]:
    found = at(document, rest.items)
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise ProtocolViolation(
            "the answer has no rows there", where=answer.url, expected=f"a list of objects at {rest.items}",
            got=ascii(answer.body[:80]), code="MS-2802",
        )  # fmt: skip
    return found


def _higher(high: str | None, rest: RestRead, rows: list[Mapping[str, Any]]) -> str | None:
    """The highest text by far: times in one form, or numbers of one length, compare as texts."""
    if rest.changed is None:
        return None
    marks = [str(mark) for row in rows if (mark := at(row, rest.changed.field)) not in (None, "")]
    return max([*marks, *([high] if high is not None else [])], default=None, key=_order)


def _order(mark: str) -> tuple[float, str]:
    try:
        return float(mark), ""
    except ValueError:
        return 0.0, mark


def _query(url: str, parameters: Mapping[str, str]) -> str:
    if not parameters:
        return ""
    return ("&" if "?" in url else "?") + urlencode(parameters, quote_via=quote, safe="$/:'(),")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


@asynccontextmanager
async def open_rest(system: RestSystem, clock: Clock) -> AsyncIterator[RestServer]:
    """The server. Raises ConfigError."""
    secret = await asyncio.to_thread(system.secret.resolve) if system.secret is not None else None
    if secret is not None and not secret.isprintable():
        raise ConfigError("the secret holds a line break or a control character", where=system.url, code="MS-0103")
    headers, basic = dict(system.headers), None
    if system.user is not None:
        basic = (system.user, secret or "")
    elif system.header is not None:
        headers[system.header] = secret or ""
    elif secret is not None:
        headers["Authorization"] = f"Bearer {secret}"
    tls = TlsFiles(ca_file=system.ca_file) if system.url.startswith("https") else None
    async with open_web(WebOptions(system.timeout, system.bytes_max, headers, basic, tls), clock) as web:
        yield RestServer(web, system)
