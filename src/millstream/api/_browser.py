"""What the doors for browsers have in common: cookies that no script reads, and whether another site asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import msgspec

from millstream.api._request import COOKIE, FORBIDDEN, read_body
from millstream.kernel import AuthError, DecodeError
from millstream.protocols.uns_payload import JSON_TYPE

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

BODY_BYTES_MAX = 8192
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
T = TypeVar("T")


def cookie_name(*, is_secure: bool) -> str:
    """With TLS one that no other host or path can set."""
    return f"__Host-{COOKIE}" if is_secure else COOKIE


def set_cookie(answer: Response, name: str, value: str, *, age_s: int, is_secure: bool) -> None:
    """Give the browser its session."""
    answer.set_cookie(name, value, max_age=age_s, path="/", secure=is_secure, httponly=True, samesite="strict")


def clear_cookie(answer: Response, name: str, *, is_secure: bool) -> None:
    """Take it back."""
    answer.delete_cookie(name, path="/", secure=is_secure, httponly=True, samesite="strict")


def check_site(request: Request, public_url: str | None = None) -> None:
    """A browser says who asks. Raises AuthError when that is another site and something would change."""
    if request.method in SAFE_METHODS:
        return
    origin = request.headers.get("origin")
    ours = {request.headers.get("host"), urlsplit(public_url).netloc if public_url else None} - {None, ""}
    if request.headers.get("sec-fetch-site") == "cross-site" or (origin and urlsplit(origin).netloc not in ours):
        raise AuthError("another site asks", got=(origin or "")[:200], expected="a page of this hub", code=FORBIDDEN)


async def read_json(request: Request, form: type[T], bytes_max: int = BODY_BYTES_MAX) -> T:
    """A JSON body. Raises DecodeError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON_TYPE:
        raise DecodeError("not JSON", where="Content-Type", expected=JSON_TYPE, got=kind[:80], code="MS-2125")
    body = await read_body(request, bytes_max)
    try:
        return msgspec.json.decode(body, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError("the body is not what is asked for", got=str(error).lower(), code="MS-2125") from error
