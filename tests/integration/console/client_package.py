"""The npm package `@millstream/client`: its programs, and its example page as somebody would build and serve it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from login_site import PASSWORD, LoginSite
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from trust_site import until

import console  # tools/
from millstream.api import serve_api

if TYPE_CHECKING:
    from playwright.async_api import Page

CONSOLE = Path(console.SOURCE)
EXAMPLE = CONSOLE / "packages" / "client" / "example"
OPTIONS = {"NO_COLOR": "1", "NODE_OPTIONS": "--experimental-websocket --no-warnings"}  # Node.js 20 has it behind a flag
TAG = "acme/plant1/line:speed"


async def node(*arguments: str | Path, **environment: str) -> str:
    """What a program of the console's packages says; it ends well."""
    npm = console.find_npm()
    assert npm is not None
    process = await asyncio.create_subprocess_exec(
        npm[1] / "node", *arguments, cwd=CONSOLE, env={**os.environ, **OPTIONS, **environment},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said[-6000:]
    return said


def beside_the_api(site: LoginSite, folder: Path) -> Starlette:
    """A web server with pages of its own that leads the API's paths to the hub, as the guide says."""

    async def forward(request: Request) -> Response:
        async with site.http() as client:
            path = str(request.url).removeprefix(str(request.base_url))
            found = await client.request(
                request.method, f"/{path}", content=await request.body(), headers=dict(request.headers)
            )
        answer = Response(found.content, found.status_code)
        kept = [pair for pair in found.headers.raw if pair[0].lower() not in (b"content-encoding", b"content-length")]
        answer.raw_headers.extend(kept)
        return answer

    pages = Mount("/", StaticFiles(directory=folder, html=True))
    return Starlette(routes=[Route("/api/{path:path}", forward, methods=["GET", "POST", "DELETE"]), pages])


@contextlib.asynccontextmanager
async def the_example(site: LoginSite, folder: Path) -> AsyncIterator[str]:
    """Where the example page is: built with the bundler's own defaults, served before this hub."""
    await node("node_modules/vite/bin/vite.js", "build", EXAMPLE, "--outDir", folder, "--logLevel", "warn")
    async with serve_api(beside_the_api(site, folder)) as address:
        yield address.url


async def log_in_to_the_example(page: Page, address: str, tenant: str, user: str) -> None:
    """Until it is connected."""
    await page.goto(f"{address}/")
    for name, text in (("tenant", tenant), ("user", user), ("password", PASSWORD)):
        await page.get_by_placeholder(name).fill(text)
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_text("connected", exact=True).wait_for()


async def see_the_example_page(page: Page, address: str, site: LoginSite) -> None:
    """ann logs in there, sees her last values, and the next one without asking; what is not hers is not there."""
    await log_in_to_the_example(page, address, "acme", "ann")
    line = page.get_by_role("listitem").filter(has_text=re.compile(rf"^{TAG} = \d+$"))
    await line.wait_for()
    before = await line.inner_text()

    async def has_changed() -> bool:
        async with site.site.plant("acme") as plant:
            await plant.publish(TAG, random.randrange(10**6))
        return await line.inner_text() != before

    await until(has_changed, "a live value on the example page")
    assert not [one for one in await page.get_by_role("listitem").all_inner_texts() if "plant2" in one]
