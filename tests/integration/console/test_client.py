"""The npm package `@millstream/client`: its own tests against a real hub, the types of all that is built from it, and
how much of it a browser loads."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from client_package import EXAMPLE, node
from login_site import PASSWORD, LoginSite, login_site

import console  # tools/

GZIPPED_BYTES_MAX = 250_000  # with the charts; without them it was allowed as much
TAG = "acme/plant1/press:speed"
pytestmark = pytest.mark.needs("console")


@contextlib.asynccontextmanager
async def speaking(site: LoginSite) -> AsyncIterator[None]:
    """Values go on coming."""

    async def speak() -> None:
        async with site.site.plant("acme") as plant:
            while True:
                await plant.publish(TAG, random.random())
                await asyncio.sleep(0.2)

    task = asyncio.ensure_future(speak())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_client_passes_its_own_tests_at_a_real_hub(tmp_path: Path) -> None:
    async with login_site(tmp_path, "acme", origins=(), credentials="10s") as site:
        await site.publish("acme", TAG, "acme/plant2:power")
        async with site.site.plant("acme") as plant:
            await plant.publish("acme/plant1:big", 2**63 - 1)
        await site.add("acme", "ann", paths=("acme/plant1",))
        login = json.dumps({"tenant": "acme", "user": "ann", "password": PASSWORD})
        async with speaking(site):
            said = await node("node_modules/vitest/vitest.mjs", "run", MILLSTREAM_URL=site.url, MILLSTREAM_LOGIN=login)
    assert "skipped" not in said
    assert "hub.test.ts" in said


async def test_all_of_it_has_types() -> None:
    await node("node_modules/typescript/bin/tsc", "--noEmit")


def test_what_a_browser_loads_stays_small() -> None:
    parts = [path for path in (console.TARGET / "assets").iterdir() if path.suffix in (".js", ".css")]
    sizes = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in parts}
    assert 0 < sum(sizes.values()) < GZIPPED_BYTES_MAX, sizes


def test_the_example_page_is_short() -> None:
    files = [path for path in EXAMPLE.rglob("*") if path.is_file()]
    assert files
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files) < 60
