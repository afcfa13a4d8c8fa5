"""The server of the API takes its sockets with it, however it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette

from millstream.api import serve_api


async def test_a_scope_that_fails_leaves_no_descriptor_that_is_watched() -> None:
    """The loop would go on watching it, and break whoever is given its number next."""
    loop: Any = asyncio.get_running_loop()
    before = set(loop._selector.get_map())

    async def fail() -> None:
        async with serve_api(Starlette()):
            while len(loop._selector.get_map()) == len(before):  # until it listens
                await asyncio.sleep(0.01)
            raise KeyError("whoever serves has failed")

    with pytest.raises(ExceptionGroup):
        await fail()
    assert set(loop._selector.get_map()) == before
