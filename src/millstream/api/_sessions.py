"""The door of a hub with tenants: people log in, and see their tenant below their paths.

A browser holds its session in a cookie that no script reads and no other site sends (HttpOnly, SameSite=Strict). What
changes something is refused when the browser says that another site asks, and bodies are JSON, which no form sends. A
program may take the token instead and send it as a bearer; neither stands in an address, ever.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NoReturn

import msgspec

from millstream.api._act_routes import ACT_PATHS, act_routes
from millstream.api._app import application
from millstream.api._browser import check_site, clear_cookie, cookie_name, read_json, set_cookie
from millstream.api._console import console_routes
from millstream.api._desk import ActDesk, Plants
from millstream.api._door import Actor, View, bearer_of
from millstream.api._login_openapi import LOGIN_PATHS
from millstream.api._people import PEOPLE_PATHS, People, PeopleAccess
from millstream.api._provider import PROVIDER_PATHS, ProviderDesk
from millstream.api._request import FORBIDDEN, address_of, json_response
from millstream.historian import HistoryView
from millstream.kernel import AuthError, Unreachable, needs_extra
from millstream.login import PASSWORD, PROVIDER, LoginDesk, NatsLogin, Session, sites_below

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from millstream.hub import Tenants
    from millstream.kernel import Clock

BEGUN_COOKIE = "millstream_begun"
BEGUN_S = 600
FIRST_LOOK = "/api/v1/tree"  # a page asks for it before it knows whose session it has


class LoginRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Somebody wants in. `public_key`: the client's own NATS key, to have credentials at once; `as_cookie` false: the
    token comes in the answer, for a program."""

    tenant: str
    user: str
    password: str
    code: str = ""
    public_key: str | None = None
    as_cookie: bool = True


class KeyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A session asks for NATS credentials."""

    public_key: str


class SessionDoor:
    """Views by session; and the routes of logging in and out."""

    def __init__(
        self, tenants: Tenants, desk: LoginDesk, *, websocket_port: int | None, public_url: str | None,
        is_tls: bool = False,
    ) -> None:  # fmt: skip
        self._tenants = tenants
        self._desk = desk
        self._websocket_port = websocket_port
        self._public = public_url
        self._is_secure = is_tls if public_url is None else public_url.startswith("https:")

    @property
    def cookie(self) -> str:
        """Its name: with TLS one that no other host or path can set."""
        return cookie_name(is_secure=self._is_secure)

    async def admit(self, request: Request) -> View:
        """Raises AuthError; Unreachable while the tenant's plant is not up."""
        session = self.session_of(request)
        if session.tenant == PROVIDER:
            self._refuse_provider(session, request)
        historian = self._tenants.historian(session.tenant)
        if historian is None:
            raise Unreachable("the tenant's history is not up", where=session.tenant, retry_after_s=2.0, code="MS-2109")
        paths = session.paths or None
        sites = sites_below(self._tenants.trust.tenants[session.tenant], session.paths)
        status = partial(self._tenants.plant_status, session.tenant)
        actor = self._actor(session, address_of(request))
        return View(historian, HistoryView(historian, paths), actor, status, tuple(sites))

    def _actor(self, session: Session, origin: str) -> Actor:
        who = session.name if session.via == PASSWORD else f"{session.name} ({session.via})"
        return Actor(
            who, session.role, session.tenant, tuple(session.paths), origin,
            lambda what: self._desk.note_refused(session, what, origin),
        )  # fmt: skip

    def _refuse_provider(self, session: Session, request: Request) -> NoReturn:
        """Who runs the hub has its own questions, and no way to those of a tenant. Raises AuthError."""
        if request.url.path != FIRST_LOOK:
            self._desk.note_refused(session, "see or do anything of a tenant's", address_of(request))
        raise AuthError(
            "the provider sees nothing of a tenant's data", where=request.url.path[:200], got=PROVIDER,
            expected="a log-in of a tenant", next_step="ask /api/v1/provider/…", code=FORBIDDEN,
        )  # fmt: skip

    def is_healthy(self) -> bool:
        """Whether the history of each tenant stores."""
        histories = [self._tenants.historian(name) for name in self._tenants.trust.tenants]
        return all(historian is not None and historian.is_healthy for historian in histories)

    def session_of(self, request: Request) -> Session:
        """By bearer token, else by cookie. Raises AuthError."""
        token = bearer_of(request)
        if token is None:
            token = request.cookies.get(self.cookie, "")
            self._check_site(request)
        return self._desk.find(token)

    def routes(self) -> list[BaseRoute]:
        """Logging in and out, and credentials."""
        from starlette.routing import Route

        return [
            Route("/api/v1/login", self._ways, methods=["GET"]),
            Route("/api/v1/login", self._log_in, methods=["POST"]),
            Route("/api/v1/oidc/{provider}", self._begin, methods=["GET"]),
            Route("/api/v1/oidc/{provider}/callback", self._come_back, methods=["GET"]),
            Route("/api/v1/session", self._show, methods=["GET"]),
            Route("/api/v1/session", self._log_out, methods=["DELETE"]),
            Route("/api/v1/session/credentials", self._credentials, methods=["POST"]),
        ]

    async def _log_in(self, request: Request) -> Response:
        self._check_site(request)
        wanted = await read_json(request, LoginRequest)
        token, session = await self._desk.log_in(
            wanted.tenant, wanted.user, wanted.password, wanted.code, address_of(request)
        )
        nats = None if wanted.public_key is None else await self._desk.credentials(session, wanted.public_key)
        answer = json_response(self._shown(session, nats) | ({} if wanted.as_cookie else {"token": token}))
        if wanted.as_cookie:
            self.set_cookie(answer, token, session)
        return answer

    async def _ways(self, request: Request) -> Response:
        """How one can log in, for a page that asks."""
        return json_response({"password": True, "token": False, "oidc": self._desk.oidc.names})

    async def _begin(self, request: Request) -> Response:
        """Send the browser to its identity provider. The cookie says later that it is the same browser; it comes with
        the provider's redirect, so it is Lax."""
        from starlette.responses import RedirectResponse

        name = request.path_params["provider"]
        address, browser = await self._desk.oidc.begin(name, self._callback(request, name))
        answer = RedirectResponse(address, 303, {"Cache-Control": "no-store"})
        answer.set_cookie(
            BEGUN_COOKIE, browser, max_age=BEGUN_S, path=f"/api/v1/oidc/{name}", secure=self._is_secure, httponly=True,
            samesite="lax",
        )  # fmt: skip
        return answer

    async def _come_back(self, request: Request) -> Response:
        """The browser has been at its identity provider; the code that it brings is good once, and for it alone."""
        from starlette.responses import RedirectResponse

        name = request.path_params["provider"]
        browser = request.cookies.get(BEGUN_COOKIE, "")
        answer = dict(request.query_params)
        token, session = await self._desk.come_back(name, answer, browser, address_of(request))
        found = RedirectResponse("/", 303, {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
        found.delete_cookie(BEGUN_COOKIE, path=f"/api/v1/oidc/{name}", secure=self._is_secure, httponly=True)
        self.set_cookie(found, token, session)
        return found

    def _callback(self, request: Request, name: str) -> str:
        base = self._public or f"{request.url.scheme}://{request.url.netloc}"
        return f"{base.rstrip('/')}/api/v1/oidc/{name}/callback"

    async def _show(self, request: Request) -> Response:
        return json_response(self._shown(self.session_of(request)))

    async def _credentials(self, request: Request) -> Response:
        session = self.session_of(request)
        wanted = await read_json(request, KeyRequest)
        return json_response(self._shown(session, await self._desk.credentials(session, wanted.public_key)))

    async def _log_out(self, request: Request) -> Response:
        await self._desk.close(self.session_of(request), address=address_of(request))
        answer = json_response({"ended": True})
        clear_cookie(answer, self.cookie, is_secure=self._is_secure)
        return answer

    def set_cookie(self, answer: Response, token: str, session: Session) -> None:
        """Give the browser its session."""
        age_s = session.expires_s - session.created_s
        set_cookie(answer, self.cookie, token, age_s=age_s, is_secure=self._is_secure)

    def _shown(self, session: Session, nats: NatsLogin | None = None) -> dict[str, object]:
        tenant = self._tenants.trust.tenants.get(session.tenant)  # it may be gone by now
        shown: dict[str, object] = {
            "tenant": session.tenant, "user": session.name, "role": session.role, "via": session.via,
            "place": None if tenant is None else tenant.place, "paths": session.paths,
            "expires_s": session.expires_s, "websocket_port": self._websocket_port,
        }  # fmt: skip
        return shown | ({} if nats is None else {"nats": nats})

    def _check_site(self, request: Request) -> None:
        check_site(request, self._public)


def create_tenants_app(
    tenants: Tenants, *, clock: Clock, websocket_port: int | None = None, public_url: str | None = None,
    is_tls: bool = False, plants: Plants | None = None, people: PeopleAccess | None = None,
) -> Starlette:  # fmt: skip
    """The application of a hub in operator mode, served by TLS or not; `plants` is how people act, and `people` how
    they are let in. Raises ConfigError when Starlette is missing."""
    assert tenants.logins is not None
    with needs_extra("the HTTP API", "api"):
        import starlette  # noqa: F401 (to say so before anything else does)
    door = SessionDoor(tenants, tenants.logins, websocket_port=websocket_port, public_url=public_url, is_tls=is_tls)
    acts = [] if plants is None else act_routes(ActDesk(door, plants, clock))
    lets_in = [] if people is None else People(door, tenants, tenants.logins, people).routes()
    provides = [] if plants is None else ProviderDesk(door, tenants, tenants.logins, plants, clock).routes()
    description = LOGIN_PATHS | (ACT_PATHS if acts else {}) | (PEOPLE_PATHS if lets_in else {})
    description |= PROVIDER_PATHS if provides else {}
    routes = [*door.routes(), *acts, *lets_in, *provides, *console_routes(websocket_port)]
    return application(door, clock, routes, description=description)
