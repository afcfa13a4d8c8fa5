"""The door of a node with one plant: its token opens everything. A browser shows it once and gets a session for it.

The session is kept in memory: a hub that starts again asks for the token again. The browser holds it in a cookie that
no script reads and no other site sends; what its page gets for NATS is the user of an account that only looks.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from millstream.api._browser import check_site, clear_cookie, cookie_name, read_json, set_cookie
from millstream.api._door import Actor, View, bearer_of
from millstream.api._request import address_of, json_response
from millstream.bus import PEOPLE_INBOX, VIEW_API
from millstream.historian import HistoryView
from millstream.kernel import AuthError, Unreachable
from millstream.protocols.history_query import QUERY_SUBJECT

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from millstream.api._door import NodeStatus
    from millstream.historian import HistorianService
    from millstream.kernel import Clock

CurrentHistory: TypeAlias = "Callable[[], HistorianService | None]"
"""That of a member of a cluster, which is another one when it begins or ceases to lead; None in between."""
SESSION_BYTES = 32
WHO = "token"  # for the audit, with the address: who holds it is nobody by name
USUAL_ROLE = "engineer"
SESSION_S = 12 * 3600
SESSIONS_COUNT_MAX = 200  # the oldest ends for a new one


@dataclass(frozen=True, slots=True)
class BrowserAccess:
    """How a page reaches the node's NATS server: the port of its WebSocket listener, and who it is there. Without it a
    page asks the API again and again."""

    websocket_port: int
    user: str
    password: str = field(repr=False)


class TokenRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Somebody shows the node's token."""

    token: str


class TokenDoor:
    """One token opens everything, as a bearer or for a session."""

    def __init__(
        self, historian: HistorianService | CurrentHistory, token: str, status: NodeStatus | None, clock: Clock, *,
        access: BrowserAccess | None = None, is_tls: bool = False, role: str = USUAL_ROLE, site: str | None = None,
    ) -> None:  # fmt: skip
        """`site` is the edge whose door this is; None: a hub's."""
        self._historian = historian
        self._site = site
        self._actor = Actor(WHO, role)
        self._status = status
        self._token = token.encode()
        self._clock = clock
        self._access = access
        self._is_secure = is_tls
        self._cookie = cookie_name(is_secure=is_tls)
        self._sessions: dict[str, int] = {}
        """Session -> when it ends, Unix seconds; the oldest first."""

    async def admit(self, request: Request) -> View:
        """Raises AuthError (MS-0630), and Unreachable while a member of a cluster hands its history over."""
        token = bearer_of(request)
        if token is None and self._cookie in request.cookies:
            self._session_of(request)
        elif not hmac.compare_digest((token or "").encode(), self._token):
            raise AuthError("no token, or a wrong one", expected="Authorization: Bearer <token>", code="MS-0630")
        historian = self._current()
        if historian is None:
            raise Unreachable(
                "there is no history here at the moment",
                next_step="ask again in a moment, or another member of the cluster",
            )
        actor = replace(self._actor, who=f"{WHO}@{address_of(request)}", origin=address_of(request))
        return View(historian, HistoryView(historian), actor, self._status)

    def _current(self) -> HistorianService | None:
        return self._historian() if callable(self._historian) else self._historian

    def is_healthy(self) -> bool:
        """Whether the history stores."""
        historian = self._current()
        return historian is not None and historian.is_healthy

    def routes(self) -> list[BaseRoute]:
        """Logging in and out, and how to reach NATS; the same addresses as at a hub with tenants."""
        from starlette.routing import Route

        return [
            Route("/api/v1/login", self._ways, methods=["GET"]),
            Route("/api/v1/login", self._log_in, methods=["POST"]),
            Route("/api/v1/session", self._show, methods=["GET"]),
            Route("/api/v1/session", self._log_out, methods=["DELETE"]),
            Route("/api/v1/session/credentials", self._credentials, methods=["POST"]),
        ]

    async def _ways(self, request: Request) -> Response:
        return json_response({"password": False, "token": True, "oidc": []})

    async def _log_in(self, request: Request) -> Response:
        check_site(request)
        wanted = await read_json(request, TokenRequest)
        if not hmac.compare_digest(wanted.token.strip().encode(), self._token):
            raise AuthError(
                "a wrong token", expected="that of the file secrets/api.token in the node's folder", code="MS-0630"
            )
        session, expires_s = secrets.token_urlsafe(SESSION_BYTES), self._now_s() + SESSION_S
        while len(self._sessions) >= SESSIONS_COUNT_MAX:
            self._sessions.pop(next(iter(self._sessions)))
        self._sessions[session] = expires_s
        answer = json_response(self._shown(expires_s))
        set_cookie(answer, self._cookie, session, age_s=SESSION_S, is_secure=self._is_secure)
        return answer

    async def _show(self, request: Request) -> Response:
        return json_response(self._shown(self._session_of(request)))

    async def _credentials(self, request: Request) -> Response:
        """Those last as long as the hub's process: there is nothing to renew."""
        check_site(request)
        expires_s = self._session_of(request)
        nats: dict[str, Any] | None = None
        if self._access is not None:
            nats = {
                "user": self._access.user, "password": self._access.password, "inbox_prefix": PEOPLE_INBOX,
                "api_prefix": VIEW_API, "live_subjects": ["live.uns.v1.>"], "history_subjects": [QUERY_SUBJECT],
            }  # fmt: skip
        return json_response(self._shown(expires_s) | {"nats": nats})

    async def _log_out(self, request: Request) -> Response:
        check_site(request)
        self._session_of(request)
        self._sessions.pop(request.cookies.get(self._cookie, ""), None)
        answer = json_response({"ended": True})
        clear_cookie(answer, self._cookie, is_secure=self._is_secure)
        return answer

    def _session_of(self, request: Request) -> int:
        """When the session of a request ends. Raises AuthError."""
        check_site(request)
        session = request.cookies.get(self._cookie, "")
        expires_s = self._sessions.get(session, 0)
        if expires_s <= self._now_s():
            self._sessions.pop(session, None)
            raise AuthError("no session, or one that is over", next_step="log in again", code="MS-2124")
        return expires_s

    def _shown(self, expires_s: int) -> dict[str, object]:
        return {
            "tenant": None, "user": None, "role": self._actor.role, "via": "token", "place": None, "paths": [],
            "site": self._site,
            "expires_s": expires_s, "websocket_port": None if self._access is None else self._access.websocket_port,
        }  # fmt: skip

    def _now_s(self) -> int:
        return self._clock.now_ns() // 1_000_000_000
