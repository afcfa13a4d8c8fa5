"""The console and the documentation: files that are built and lie in this package, served as they are.

The policy that goes with them lets a page load nothing from elsewhere, run no text as script but the one that was built
into it, by its digest, and speak with this hub and its WebSocket listener only.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from millstream.kernel import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

CONSOLE_DIR = Path(__file__).parent / "console"
DOCS_DIR = Path(__file__).parent / "docs"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?\Z")
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+\Z")
_DOCS_NAME = re.compile(r"([A-Za-z0-9_-]+/)*[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+\Z")
_TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml", ".json": "application/json", ".md": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json", ".png": "image/png",
}  # fmt: skip
_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
_PACKED = frozenset({".js", ".css"})
KEPT_FILES_MAX, KEPT_BYTES_MAX = 64, 1 << 18  # all that a browser loads; 16 MiB at most
_FOR_EVER = "public, max-age=31536000, immutable"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; connect-src 'self'"
)


def is_built(folder: Path = CONSOLE_DIR) -> bool:
    """Whether there is a console to serve."""
    return (folder / "index.html").is_file()


def console_routes(websocket_port: int | None, folder: Path = CONSOLE_DIR) -> list[BaseRoute]:
    """The page, and what it is made of. `websocket_port`: where it may connect beside this server."""
    from starlette.routing import Route

    return [
        Route("/", _serving(folder, websocket_port, is_page=True), methods=["GET"]),
        Route("/assets/{name}", _serving(folder / "assets", websocket_port), methods=["GET"]),
    ]


def docs_routes(folder: Path = DOCS_DIR) -> list[BaseRoute]:
    """The documentation: for everybody, as it says nothing of this plant."""
    from starlette.responses import FileResponse, RedirectResponse
    from starlette.routing import Route

    def serve(request: Request) -> Response:
        """One file. Raises NotFoundError."""
        name = request.path_params["name"] or "index.html"
        path = folder / name
        is_ours = _DOCS_NAME.match(name) is not None and path.suffix in _TYPES
        if not is_ours or not path.is_file():
            raise NotFoundError("no such page", got=name[:80], next_step="in a checkout: `make docs` builds them")
        return FileResponse(path, headers=_headers(_POLICY), media_type=_TYPES[path.suffix])

    return [
        Route("/docs", lambda request: RedirectResponse("/docs/", 308), methods=["GET"]),
        Route("/docs/{name:path}", serve, methods=["GET"]),
    ]


def policy(host: str, websocket_port: int | None) -> str:
    """The content security policy of a page that was asked for at `host`."""
    found = _HOST.match(host)
    if websocket_port is None or found is None:
        return _POLICY
    return f"{_POLICY} ws://{found[1]}:{websocket_port} wss://{found[1]}:{websocket_port}"


def _serving(folder: Path, websocket_port: int | None, *, is_page: bool = False) -> Callable[[Request], Response]:
    def serve(request: Request) -> Response:
        """One file. Raises NotFoundError."""
        from starlette.responses import FileResponse, Response

        name = "index.html" if is_page else request.path_params["name"]
        path = folder / name
        if _NAME.match(name) is None or path.suffix not in _TYPES or not path.is_file():
            raise _missing(name) if is_page else NotFoundError("no such file", got=name[:80])
        rules = policy(request.headers.get("host", ""), websocket_port)
        if is_page:
            rules = rules.replace("script-src 'self'", f"script-src 'self'{_built_in(path, path.stat().st_mtime_ns)}")
        headers = _headers(rules)
        headers["Cache-Control"] = "no-cache" if is_page else _FOR_EVER
        if path.suffix in _PACKED:
            headers["Vary"] = "Accept-Encoding"
            path, encoding = _packed(path, request.headers.get("accept-encoding", ""))
            headers |= {} if encoding is None else {"Content-Encoding": encoding}
        type, seen = _TYPES[Path(name).suffix], path.stat()
        if seen.st_size > KEPT_BYTES_MAX:
            return FileResponse(path, headers=headers, media_type=type)
        return Response(_kept(path, seen.st_mtime_ns), headers=headers, media_type=type)

    return serve


@lru_cache(maxsize=KEPT_FILES_MAX)
def _kept(path: Path, changed_ns: int) -> bytes:
    """A file as it was built; `changed_ns` is when. From memory it is one write: a file is read by threads, part by
    part, and in a node with much to do each part waits for its turn."""
    return path.read_bytes()


@lru_cache(maxsize=2)
def _built_in(page: Path, changed_ns: int) -> str:
    """The digests of the scripts that stand in a page as it was built; `changed_ns` is when."""
    digests = (hashlib.sha256(text).digest() for text in _SCRIPT.findall(page.read_bytes()))
    return "".join(f" 'sha256-{base64.b64encode(digest).decode('ascii')}'" for digest in digests)


def _headers(rules: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": rules, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
    }  # fmt: skip


def _packed(path: Path, accepted: str) -> tuple[Path, str | None]:
    """The smallest form of a file that the browser reads, as the build left it."""
    names = {part.partition(";")[0].strip() for part in accepted.lower().split(",") if not part.endswith("q=0")}
    for encoding, suffix in (("br", ".br"), ("gzip", ".gz")):
        if encoding in names and (found := path.with_name(path.name + suffix)).is_file():
            return found, encoding
    return path, None


def _missing(name: str) -> NotFoundError:
    return NotFoundError(
        "the console is not built", got=name, next_step="in a checkout: `make console` (it needs Node.js and npm)"
    )
