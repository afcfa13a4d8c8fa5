"""The console: files that are built from `console/` and lie in this package, served as they are.

The policy that goes with them lets a page load nothing from elsewhere, run no text as script, and speak with this hub
and its WebSocket listener only.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from millstream.kernel import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

CONSOLE_DIR = Path(__file__).parent / "console"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?\Z")
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+\Z")
_TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml", ".json": "application/json", ".md": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
}  # fmt: skip
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


def policy(host: str, websocket_port: int | None) -> str:
    """The content security policy of a page that was asked for at `host`."""
    found = _HOST.match(host)
    if websocket_port is None or found is None:
        return _POLICY
    return f"{_POLICY} ws://{found[1]}:{websocket_port} wss://{found[1]}:{websocket_port}"


def _serving(folder: Path, websocket_port: int | None, *, is_page: bool = False) -> Callable[[Request], Response]:
    def serve(request: Request) -> Response:
        """One file. Raises NotFoundError."""
        from starlette.responses import FileResponse

        name = "index.html" if is_page else request.path_params["name"]
        path = folder / name
        if _NAME.match(name) is None or path.suffix not in _TYPES or not path.is_file():
            raise _missing(name) if is_page else NotFoundError("no such file", got=name[:80])
        headers = {
            "Content-Security-Policy": policy(request.headers.get("host", ""), websocket_port),
            "Cache-Control": "no-cache" if is_page else _FOR_EVER,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
        }
        return FileResponse(path, headers=headers, media_type=_TYPES[path.suffix])

    return serve


def _missing(name: str) -> NotFoundError:
    return NotFoundError(
        "the console is not built", got=name, next_step="in a checkout: `make console` (it needs Node.js and npm)"
    )
