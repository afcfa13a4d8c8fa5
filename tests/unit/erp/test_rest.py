"""Rows of a server's JSON, page by page, and confirmations as requests with a key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fake_plant import Quick, web

from millstream.config import ConfirmConfig, ReadConfig, RestSystem
from millstream.erp import Confirmation, Refused
from millstream.erp._rest import open_rest
from millstream.kernel import AuthError, ProtocolViolation, Unreachable

VALUES = {"order": "47 11/a", "name": "47 11/a-10", "good": 57.0, "rejected": 3.0, "key": "back/4711/2", "revision": 2}
TOLD = Confirmation("4711", "back/4711/2", 2, 57.0, 3.0, VALUES)


def read(**rest: Any) -> ReadConfig:
    given = {"path": "/orders", **rest}
    cells = {"reason": "id"}
    return ReadConfig.model_validate(
        {"name": "r", "system": "s", "what": "reason", "cells": cells, "rest": given, "page_rows": 2}
    )


def confirm(**rest: Any) -> ConfirmConfig:
    given = {"path": "/orders('{order}')/done", "body": {"yield": "{good}", "text": "{name}: {good}"}, **rest}
    return ConfirmConfig.model_validate({"name": "back", "system": "s", "rest": given})


def system(url: str, **more: Any) -> RestSystem:
    return RestSystem.model_validate({"type": "rest", "url": url, **more})


async def ids(url: str, config: ReadConfig, position: str | None = None, **more: Any) -> tuple[list[Any], str | None]:
    """All ids that come in, and the position behind them."""
    found: list[Any] = []
    async with open_rest(system(url, **more), Quick()) as server:
        async for page in server.pages(config, position):
            found += [row["id"] for row in page.rows]
            position = page.position
    return found, position


def said(value: Any, status: int = 200, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    return status, json.dumps(value).encode(), headers


async def test_pages_of_odata_4_follow_their_links() -> None:
    def answer(path: str, count: int) -> Any:
        return said({"value": [{"id": count}], **({"@odata.nextLink": "orders?$skiptoken=x"} if count == 1 else {})})

    with web(answer) as (url, came):
        assert await ids(url + "/v4", read(parameters={"$select": "id,name"}, top="$top")) == ([1, 2], None)
        assert [path for _, path, _, _ in came] == ["/v4/orders?$select=id,name&$top=2", "/v4/orders?$skiptoken=x"]


async def test_pages_of_odata_2_and_of_numbers_are_read_to_their_end() -> None:
    def two(path: str, count: int) -> Any:
        return said({"d": {"results": [{"id": count}], "__next": "/n" if count == 1 else None}})

    with web(two) as (url, _):
        assert (await ids(url, read(items="$.d.results", next="$.d.__next")))[0] == [1, 2]

    def numbers(path: str, count: int) -> Any:
        skip = int(parse_qs(urlsplit(path).query)["offset"][0])
        return said([{"id": n} for n in range(skip, min(skip + 2, 5))])

    with web(numbers) as (url, came):
        assert (await ids(url, read(items="$", next=None, skip="offset", top="limit")))[0] == [0, 1, 2, 3, 4]
        assert [path for _, path, _, _ in came][-1] == "/orders?limit=2&offset=4"


async def test_only_changes_are_asked_for_once_everything_was_read() -> None:
    def answer(path: str, count: int) -> Any:
        return said({"value": [{"id": 1, "at": "2026-07-02T00:00:00Z"}, {"id": 2, "at": "2026-07-01T00:00:00Z"}]})

    changed = {"parameter": "$filter", "text": "at ge {since}", "field": "at"}
    with web(answer) as (url, came):
        _, position = await ids(url, read(changed=changed))
        assert position == "2026-07-02T00:00:00Z"
        await ids(url, read(changed=changed), position)
        assert [path for _, path, _, _ in came] == ["/orders", "/orders?$filter=at%20ge%202026-07-02T00:00:00Z"]


async def test_credentials_go_to_their_own_server_only(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("right horse\n", encoding="utf-8")
    secret = {"file": str(tmp_path / "token")}

    def answer(path: str, count: int) -> Any:
        return said({"value": [], "@odata.nextLink": "http://127.0.0.1:9/elsewhere"})

    with web(answer) as (url, came):
        with pytest.raises(ProtocolViolation, match="another server"):
            await ids(url, read(), secret=secret)
        assert came[0][2]["Authorization"] == "Bearer right horse"
    with web(lambda *_: said([], 401)) as (url, came):
        with pytest.raises(AuthError) as refused:
            await ids(url, read(), secret=secret, header="X-API-Key")
        assert (refused.value.code, came[0][2]["X-API-Key"]) == ("MS-2801", "right horse")


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        ((200, b"<html>", {}), ProtocolViolation, "MS-2802"),
        ((200, b'{"value": 3}', {}), ProtocolViolation, "MS-2802"),
        ((200, b'{"value": [3]}', {}), ProtocolViolation, "MS-2802"),
        ((200, b"[" + b" " * 2000 + b"]", {}), ProtocolViolation, "MS-2802"),
        ((404, b"no such set", {}), Refused, "MS-2806"),
        ((503, b"maintenance", {"Retry-After": "7"}), Unreachable, "MS-2800"),
    ],
)
async def test_an_answer_that_is_none_says_what_it_was(answer: Any, error: type[Exception], code: str) -> None:
    with web(lambda *_: answer) as (url, _):
        with pytest.raises(error) as told:
            await ids(url, read(), bytes_max=1024)
        assert told.value.code == code  # type: ignore[attr-defined]
        if code == "MS-2800":
            assert told.value.retry_after_s == 7  # type: ignore[attr-defined]


async def test_a_confirmation_is_a_request_with_its_key_and_typed_values() -> None:
    with web(lambda *_: (201, b"", {})) as (url, came):
        async with open_rest(system(url + "/v1/"), Quick()) as server:
            assert await server.confirm(confirm(method="PATCH"), TOLD) == "set"
    method, path, headers, body = came[0]
    assert (method, path, headers["Idempotency-Key"]) == ("PATCH", "/v1/orders('47%2011%2Fa')/done", "back/4711/2")
    assert json.loads(body) == {"yield": 57.0, "text": "47 11/a-10: 57"}


@pytest.mark.parametrize(("status", "how"), [(200, "set"), (409, "known"), (422, None)])
async def test_a_known_key_counts_as_taken_and_a_refusal_as_one(status: int, how: str | None) -> None:
    with web(lambda *_: (status, b"no such order", {})) as (url, _):
        async with open_rest(system(url), Quick()) as server:
            if how is not None:
                assert await server.confirm(confirm(), TOLD) == how
                return
            with pytest.raises(Refused, match="refuses the confirmation") as told:
                await server.confirm(confirm(), TOLD)
            assert told.value.got == "422 no such order"
            with pytest.raises(Refused, match="names something that there is not"):
                await server.confirm(confirm(body={"x": "{nobody}"}), TOLD)
