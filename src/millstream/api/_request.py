"""What requests have in common: bounded bodies, answers as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from millstream.kernel import DecodeError
from millstream.protocols.uns_payload import JSON_TYPE

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

COOKIE = "millstream_session"
"""Of a browser that has logged in; with TLS ``__Host-`` stands before it."""
FORBIDDEN = "MS-2126"
"""Code of an AuthError of somebody who is known, and may not."""


async def read_body(request: Request, bytes_max: int) -> bytes:
    """The body. Raises DecodeError when it is longer than allowed, without reading the rest."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > bytes_max:
            raise DecodeError("the body is too long", expected=f"at most {bytes_max} bytes", code="MS-0320")
    return body


def address_of(request: Request) -> str:
    """Where a request comes from; behind a proxy on this machine, what that says."""
    return request.client.host if request.client is not None else ""


def json_response(content: object, status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that no cache keeps."""
    from starlette.responses import Response

    return Response(
        msgspec.json.encode(content), status_code, {"Cache-Control": "no-store", **(headers or {})}, JSON_TYPE
    )
