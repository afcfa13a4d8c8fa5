"""The console's files: what is served, under which policy, and what is not."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from millstream.api._console import console_routes, docs_routes, is_built, policy
from millstream.api._refusals import plant_error
from millstream.kernel import PlantError


def client_of(folder: Path, port: int | None = 8080) -> httpx.AsyncClient:
    """Of an application that serves `folder`."""
    app = Starlette(routes=console_routes(port, folder), exception_handlers={PlantError: plant_error})
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://plant.example:8000")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a build leaves, and something beside it that nobody may see."""
    (tmp_path / "built" / "assets").mkdir(parents=True)
    (tmp_path / "built" / "index.html").write_text("<title>x</title>")
    (tmp_path / "built" / ".stamp").write_text("secret")
    (tmp_path / "built" / "assets" / "main-1.js").write_text("1")
    (tmp_path / "built" / "assets" / "noted").write_text("secret")
    (tmp_path / "secret.js").write_text("secret")
    return tmp_path / "built"


async def test_the_page_may_reach_this_hub_and_nothing_else(folder: Path) -> None:
    async with client_of(folder) as client:
        page = await client.get("/")
    assert page.text == "<title>x</title>"
    rules = dict(rule.split(" ", 1) for rule in page.headers["content-security-policy"].split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self'"
    assert rules["connect-src"] == "'self' ws://plant.example:8080 wss://plant.example:8080"
    assert page.headers["cache-control"] == "no-cache"
    assert page.headers["x-content-type-options"] == "nosniff"


async def test_only_the_script_that_was_built_into_the_page_may_run_in_it(folder: Path) -> None:
    async with client_of(folder) as client:
        for text in ("begin()", "begin('again')"):
            (folder / "index.html").write_text(
                f"<script>{text}</script><script type=module src=./assets/main-1.js></script>"
            )
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            page = await client.get("/")
            rules = dict(rule.split(" ", 1) for rule in page.headers["content-security-policy"].split("; "))
            assert rules["script-src"] == f"'self' 'sha256-{digest}'"
        assert "sha256" not in (await client.get("/assets/main-1.js")).headers["content-security-policy"]


async def test_what_has_its_digest_in_its_name_is_kept_by_browsers(folder: Path) -> None:
    async with client_of(folder) as client:
        found = await client.get("/assets/main-1.js")
    assert found.headers["content-type"].startswith("text/javascript")
    assert "immutable" in found.headers["cache-control"]


async def test_a_file_is_kept_in_memory_until_it_changes_and_a_large_one_not_at_all(folder: Path) -> None:
    async with client_of(folder) as client:
        for text in ("1", "2", "3" * (1 << 18), "4" * (1 << 19)):
            (folder / "assets" / "main-1.js").write_text(text)
            for _ in range(2):
                assert (await client.get("/assets/main-1.js")).text == text


@pytest.mark.parametrize(
    "path",
    ["/.stamp", "/assets/noted", "/assets/..%2f..%2fsecret.js", "/assets/%2e%2e%2f.stamp", "/assets/x.js"],
)
async def test_nothing_else_is_served(folder: Path, path: str) -> None:
    async with client_of(folder) as client:
        found = await client.get(path)
    assert found.status_code == 404
    assert "secret" not in found.text


async def test_without_a_build_the_answer_says_what_to_do(tmp_path: Path) -> None:
    assert not is_built(tmp_path)
    async with client_of(tmp_path) as client:
        found = await client.get("/")
    assert found.status_code == 404
    assert "make console" in found.json()["hint"]


def test_a_host_that_is_none_gets_into_no_policy() -> None:
    for host in ("", "a; script-src *", "a b", "[::1", "x\r\ny", "a:99999999"):
        assert "ws://" not in policy(host, 8080)
    assert "ws://[::1]:8080" in policy("[::1]:8000", 8080)
    assert "ws://" not in policy("plant.example", None)


async def test_a_file_goes_out_packed_as_far_as_the_browser_reads_it(folder: Path) -> None:
    for suffix in ("", ".br", ".gz"):
        (folder / "assets" / f"big-1.js{suffix}").write_text(f"as {suffix}")
    async with client_of(folder) as client:
        for accepted, encoding, text in (
            ("gzip, deflate, br", "br", "as .br"), ("gzip", "gzip", "as .gz"), ("identity", None, "as "),
        ):  # fmt: skip
            async with client.stream("GET", "/assets/big-1.js", headers={"Accept-Encoding": accepted}) as found:
                assert b"".join([part async for part in found.aiter_raw()]).decode() == text
            assert found.headers.get("content-encoding") == encoding
            assert found.headers["vary"] == "Accept-Encoding"
            assert found.headers["content-type"].startswith("text/javascript")
        assert (await client.get("/assets/big-1.js.br")).status_code == 404


async def test_the_documentation_is_for_everybody_and_only_its_own_files(folder: Path) -> None:
    (folder / "how-to").mkdir()
    (folder / "how-to" / "console.html").write_text("<title>how</title>")
    app = Starlette(routes=docs_routes(folder), exception_handlers={PlantError: plant_error})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://plant.example") as client:
        assert (await client.get("/docs")).headers["location"] == "/docs/"
        assert (await client.get("/docs/")).text == "<title>x</title>"
        found = await client.get("/docs/how-to/console.html")
        assert found.text == "<title>how</title>"
        assert "script-src 'self'" in found.headers["content-security-policy"]
        for path in (
            "/docs/../secret.js",
            "/docs/%2e%2e/secret.js",
            "/docs/.stamp",
            "/docs/how-to/none.html",
            "/docs//x",
        ):
            assert (await client.get(path)).status_code == 404, path
