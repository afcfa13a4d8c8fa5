"""The desk where people log in at a hub in operator mode: a password or another's word in, a session and short-lived
NATS credentials out; and what ends them.

At a hub of several boxes each member has a desk, with one book (`LoginBook`). Each refuses by what it knows and hangs
up at its own server; whoever leads ends what is over, once, and looks at all servers. A member that does not reach the
book lets nobody in after a while: it could not hear who was locked out.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import msgspec

from millstream.bus import HISTORY_BELOW, VIEW_API, RawConnection
from millstream.kernel import AuthError, Clock, DecodeError, FencedError, PlantError, Unreachable
from millstream.login._attempts import Attempts
from millstream.login._begun import BegunBook
from millstream.login._book import Changed, LoginBook
from millstream.login._cutter import Cutter
from millstream.login._oidc import OidcDesk, OidcProvider
from millstream.login._passwords import Passwords
from millstream.login._records import PASSWORD, PROVIDER, Identity, LoginUser, Session, shown_user
from millstream.login._totp import used_step
from millstream.protocols.audit import act_data
from millstream.protocols.history_query import QUERY_SUBJECT
from millstream.protocols.nats_jwt import is_public_key
from millstream.protocols.nats_wire import WireMessage
from millstream.trust import HubTenant, HubTrust, Person, fitting_token, person_token, place_subject, sites_in

ATTEMPTS_SUBJECT = "millstream.login.attempt"  # in the provider's account: members tell each other who tries
TOKEN_BYTES = 32
SWEEP_INTERVAL_S = 1.0
REFRESH_AT = 0.7  # of a token's life
KEPT_AFTER_END_S = 60
BEHIND_S_MAX = 30.0  # so long a member goes by what it read: a book whose leader was killed has another one by then
SESSIONS_OF_ONE_MAX = 50
ISSUES_PER_MINUTE_MAX = 60  # of one session: it may have many tabs


class Audit(Protocol):
    """Where it is told who did what."""

    def __call__(
        self, tenant: str, what: str, outcome: str, data: Mapping[str, object], once: str = ""
    ) -> Awaitable[object]:
        """Tell it; what bears the same `once`, from whichever member, is told once."""
        ...


Gather = Callable[[str, str, Mapping[str, object]], None]
"""tenant, what, data: of refusals, which may come by the thousand"""


class TooManyAttempts(AuthError):
    """Somebody has to wait: `retry_after_s`."""

    default_code = "MS-2122"

    def __init__(self, what: str, retry_after_s: float) -> None:
        super().__init__(what, next_step=f"come again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class LoginOptions:
    """Seconds. `session_s`: until a person has to log in again; `credentials_s`: life of a NATS token."""

    session_s: int = 12 * 3600
    credentials_s: int = 300
    providers: tuple[OidcProvider, ...] = ()


@dataclass(frozen=True, slots=True)
class LoginAround:
    """What the desk stands on: the hub's connections to its provider's and its server's accounts, the operator's word
    of now, and the audit; of several boxes also whether this one leads."""

    provider: RawConnection
    system: RawConnection
    trust: Callable[[], HubTrust]
    audit: Audit
    gather: Gather
    leads: Callable[[], bool] = lambda: True


class Attempt(msgspec.Struct, frozen=True):
    """Somebody tries to log in at a member; with `is_right` it was who it said."""

    by: str
    tenant: str
    name: str
    address: str
    is_right: bool = False


class NatsLogin(msgspec.Struct, frozen=True, kw_only=True):
    """What a client connects with, beside the key that it made itself. `refresh_s`: when to ask for the next (Unix
    seconds, as `expires_s`); `inbox_prefix`: below what it may hear replies; `api_prefix`: where it asks JetStream;
    `live_subjects` is what it may hear, `history_subjects` where it asks for history; `sites_left_out`: so many sites
    of its paths did not find room in the token."""

    jwt: str
    expires_s: int
    refresh_s: int
    inbox_prefix: str
    api_prefix: str
    live_subjects: list[str]
    history_subjects: list[str]
    sites_left_out: int = 0


class LoginDesk:
    """Enter it, and run `run` beside."""

    def __init__(self, around: LoginAround, options: LoginOptions, clock: Clock) -> None:
        self._around = around
        self._options = options
        self._clock = clock
        self._attempts = Attempts()
        self._self = secrets.token_hex(8)
        self._passwords = Passwords()
        self._stack = AsyncExitStack()
        self._issues: dict[str, tuple[int, int]] = {}
        self._unsaved: dict[str, Session] = {}
        self._read_ns = 0
        self._begun = BegunBook(around.provider)
        self.oidc = OidcDesk(options.providers, self._places, self._begun, clock)
        self.book = LoginBook(around.provider)
        self.cutter = Cutter(around.system, self._is_over)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._passwords)
            if not self.book.is_shared:
                await self.prepare()
            if self.book.is_shared:
                sid = self._around.provider.subscribe(ATTEMPTS_SUBJECT, self._hear_attempts)
                stack.callback(self._around.provider.unsubscribe, sid)
            for sid in self.book.listen():
                stack.callback(self._around.provider.unsubscribe, sid)
            if not self.book.is_shared:  # else there may be no majority yet: `run` does it
                await self.book.load()
            for sid in self.cutter.listen():
                stack.callback(self._around.system.unsubscribe, sid)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def prepare(self) -> None:
        """Make the streams; of several members whoever leads does. Raises PlantError."""
        await self.book.prepare()
        if self.oidc.names:
            await self._begun.prepare()

    async def run(self) -> None:
        """End what is over, until cancelled."""
        while True:
            await self.book.told(SWEEP_INTERVAL_S)
            with suppress(PlantError):  # the link is gone for a moment: asked again
                await self._read()
                await self._end_stale()
                await self._save_ends()
                for account in self._accounts_to_sweep():
                    await self.cutter.sweep(account)
                    if self.book.is_shared and self._around.leads():
                        self.cutter.sweep_everywhere(account)

    async def _read(self) -> None:
        """What others changed."""
        if not self.book.is_loaded:
            await self.book.load()
        doubts, now_ns = self.cutter.take_doubts(), self._clock.monotonic_ns()
        try:
            for changed in await self.book.refresh():
                await self._tell_user(changed)
        except PlantError:
            self.cutter.doubt_again(doubts)
            raise
        self._read_ns = now_ns
        self.cutter.settle(doubts)

    def _check_read(self) -> None:
        """Raises Unreachable when this member may not know who is locked out."""
        if not self.book.is_shared:
            return
        is_behind = self._clock.monotonic_ns() - self._read_ns > BEHIND_S_MAX * 1e9
        if is_behind or not self.book.is_loaded:
            raise _unread()

    # -- coming in ----------------------------------------------------------------------------------------------------

    async def log_in(self, tenant: str, name: str, password: str, code: str, address: str) -> tuple[str, Session]:
        """A session for a local user, and the token that stands for it. Raises AuthError (MS-2121: whatever was wrong;
        MS-2123: a second factor is asked for), TooManyAttempts, Unreachable."""
        self._check_read()
        verdict = self._attempts.take(tenant, name, address, self._now_s())
        if verdict.wait_s > 0:
            self._refused(tenant, name, address, "locked out")
            raise TooManyAttempts("too many attempts", verdict.wait_s)
        self._tell_attempt(tenant, name, address)
        if verdict.locks:
            data = {"name": name[:80], "host": address, "locked": verdict.locks, **_whose(tenant)}
            await self._around.audit(self._known(tenant), "session", "locked", data)
        kept = self.book.user(tenant, name)
        is_right = await self._passwords.is_right(None if kept is None else kept.password, password)
        user = self.book.user(tenant, name)  # it may have changed while its old password was looked at
        is_right = is_right and user is not None and kept is not None and user.epoch == kept.epoch
        if user is None or not is_right or not self._is_there(tenant):
            self._refused(tenant, name, address, "wrong name or password")
            raise _wrong()
        user = await self._second_factor(user, code, address)
        self._attempts.forgive(tenant, name, address)
        self._tell_attempt(tenant, name, address, is_right=True)
        return await self.open(Identity(tenant, name, user.role, tuple(user.paths), epoch=user.epoch), address)

    def _tell_attempt(self, tenant: str, name: str, address: str, *, is_right: bool = False) -> None:
        """It counts at all members, whichever one is asked."""
        if self.book.is_shared:
            attempt = Attempt(self._self, tenant, name, address, is_right)
            with suppress(PlantError):  # without its link a member lets nobody in
                self._around.provider.publish(ATTEMPTS_SUBJECT, msgspec.json.encode(attempt))

    def _hear_attempts(self, messages: list[WireMessage]) -> None:
        for message in messages:
            with suppress(msgspec.DecodeError):  # of a later version
                one = msgspec.json.decode(message[4], type=Attempt)
                if one.by == self._self:
                    continue
                if one.is_right:
                    self._attempts.forgive(one.tenant, one.name, one.address)
                else:
                    self._attempts.take(one.tenant, one.name, one.address, self._now_s())

    async def _second_factor(self, user: LoginUser, code: str, address: str) -> LoginUser:
        if user.totp is None:
            return user
        if not code:
            raise AuthError(
                "a code is asked for, too", expected="code: six digits of the second factor", code="MS-2123"
            )
        step = used_step(user.totp, code, self._now_s(), user.totp_step)
        if step is not None:
            with suppress(FencedError):  # another log-in with the same code was first
                return await self.book.put_user(msgspec.structs.replace(user, totp_step=step))
        self._refused(user.tenant, user.name, address, "wrong or used code")
        raise _wrong()

    async def come_back(
        self, provider: str, answer: Mapping[str, str], browser: str, address: str
    ) -> tuple[str, Session]:
        """A session for somebody whom an identity provider has sent back. Raises AuthError, TooManyAttempts,
        Unreachable."""
        self._check_read()
        name = f"oidc:{answer.get('state', '')[:64]}"  # each is its own: it is the address that waits
        verdict = self._attempts.take("", name, address, self._now_s())
        if verdict.wait_s > 0:
            raise TooManyAttempts("too many attempts", verdict.wait_s)
        try:
            who = await self.oidc.finish(provider, answer, browser)
        except AuthError as error:
            self._refused("", f"oidc:{provider}", address, str(error)[:200])
            raise
        self._attempts.forgive("", name, address)
        return await self.open(who, address)

    async def open(self, who: Identity, address: str) -> tuple[str, Session]:
        """A session for somebody who has shown who it is, and its token."""
        token, now_s = secrets.token_urlsafe(TOKEN_BYTES), self._now_s()
        session = Session(
            id=_digest(token), tenant=who.tenant, name=who.name, role=who.role, paths=list(who.paths), via=who.via,
            epoch=who.epoch, created_s=now_s, expires_s=now_s + self._options.session_s,
        )  # fmt: skip
        theirs = [
            one for one in self.book.sessions() if (one.tenant, one.name, one.via) == (who.tenant, who.name, who.via)
        ]
        open_ones = sorted((one for one in theirs if one.ended_s is None), key=lambda one: one.created_s)
        for one in open_ones[: max(0, len(open_ones) + 1 - SESSIONS_OF_ONE_MAX)]:
            await self.close(one, "too many of one person")
        await self.book.put_session(session, self._options.session_s + KEPT_AFTER_END_S)
        rights = _rights(session)
        data = act_data(session.name, address, None, {**rights, "expires_s": session.expires_s}, host=address, **rights)
        await self._tell(session, "opened", data)
        return token, session

    # -- while it lasts -----------------------------------------------------------------------------------------------

    def find(self, token: str) -> Session:
        """The session that a token stands for. Raises AuthError (MS-2124); Unreachable (MS-2130) at a member that does
        not reach the others."""
        self._check_read()
        return self._open_one(_digest(token))

    def _open_one(self, id: str) -> Session:
        session = self.book.session(id)
        if session is None or self._has_ended(session):
            raise AuthError("no session, or one that is over", next_step="log in again", code="MS-2124")
        if self._is_ahead(session):
            raise _unread()
        return session

    async def credentials(self, session: Session, public: str) -> NatsLogin:
        """A NATS token for the key that the client made. Raises DecodeError, TooManyAttempts, AuthError."""
        session = self._open_one(session.id)  # it may have ended while the request was read
        if session.tenant == PROVIDER:
            raise AuthError(
                "the provider's people have no NATS credentials", where=PROVIDER, code="MS-2126",
                expected="a log-in of a tenant", next_step="ask /api/v1/provider/…",
            )  # fmt: skip
        if not is_public_key(public, "user"):
            raise DecodeError(
                "not a public key of a user", expected="U…, 56 characters", got=public[:60], code="MS-2125"
            )
        self._bound_issues(session)
        tenant = self._around.trust().tenants[session.tenant]
        seed = (tenant.below if session.paths else tenant.roles).get(session.role)
        if seed is None:
            raise PlantError(
                "the operator's file has no key for this", where=session.role, code="MS-2105",
                next_step="let the operator renew it with this version, by any `millstream user` or `site` command",
            )  # fmt: skip
        now_s = self._now_s()
        expires_s = min(now_s + self._options.credentials_s, session.expires_s)

        def token_of(sites: list[str]) -> str:
            person = Person(name=session.name, role=session.role, paths=session.paths, sites=sites, login=session.id)
            return person_token(seed, tenant.people_public, public, person, now_s=now_s, expires_s=expires_s)

        jwt, left_out = fitting_token(sites_below(tenant, session.paths), token_of)
        await self._tell(session, "refreshed", {"key": public, "expires_s": expires_s})
        return NatsLogin(
            jwt=jwt, expires_s=expires_s, refresh_s=now_s + int((expires_s - now_s) * REFRESH_AT),
            inbox_prefix=f"_INBOX.{public}", api_prefix=VIEW_API, sites_left_out=left_out,
            live_subjects=[f"live.{place_subject(path)}.>" for path in session.paths or [tenant.place]],
            history_subjects=[f"{HISTORY_BELOW}.{place_subject(path)}" for path in session.paths] or [QUERY_SUBJECT],
        )  # fmt: skip

    # -- the end ------------------------------------------------------------------------------------------------------

    async def close(self, session: Session, reason: str = "logged out", address: str = "") -> None:
        """End a session and the connections that were made with it; a person that ends its own sits at an `address`.
        Raises PlantError when server or store do not answer: it has ended all the same, and `run` goes on with what is
        left to do."""
        ended = msgspec.structs.replace(session, ended_s=self._now_s())
        self.book.mark(ended)  # before anything waits: no request and no connection passes from here on
        self._unsaved[ended.id] = ended
        who, origin = (session.name, address) if address else ("hub", "")
        await self._tell(ended, "closed", act_data(who, origin, _rights(session), None, reason=reason))
        tenant = self._around.trust().tenants.get(session.tenant)
        if tenant is not None:
            await self.cutter.sweep(tenant.people_public)
            if self.book.is_shared:
                self.cutter.sweep_everywhere(tenant.people_public)
        await self._save_ends()

    async def _save_ends(self) -> None:
        for ended in list(self._unsaved.values()):
            await self.book.put_session(ended, self._options.credentials_s + KEPT_AFTER_END_S)
            self._unsaved.pop(ended.id, None)

    async def _end_stale(self) -> None:
        now_s = self._now_s()
        for session in self.book.sessions():
            if session.ended_s is None and (reason := self._reason_to_end(session)) is not None:
                if self._around.leads():
                    await self.close(session, reason)
            elif session.ended_s is not None and now_s > session.ended_s + self._options.credentials_s:
                self.book.forget(session.id)
                self._issues.pop(session.id, None)

    def _reason_to_end(self, session: Session) -> str | None:
        if self._now_s() >= session.expires_s:
            return "its time is over"
        if not self._is_there(session.tenant):
            return "the tenant is gone"
        if session.via != PASSWORD:
            return None if self.oidc.knows(session.via) else "its identity provider is no longer asked"
        if self._is_ahead(session):
            return None
        user = self.book.user(session.tenant, session.name)
        return None if user is not None and user.epoch == session.epoch else "the user was changed or removed"

    def _is_ahead(self, session: Session) -> bool:
        """Whether it was opened at another member for a state of its user that this one has not read yet."""
        is_local = self.book.is_shared and session.via == PASSWORD
        return is_local and session.epoch >= self.book.epoch_after(session.tenant, session.name)

    def _accounts_to_sweep(self) -> set[str]:
        tenants = self._around.trust().tenants
        ended = {session.tenant for session in self.book.sessions() if self._has_ended(session)}
        return {tenants[name].people_public for name in ended if name in tenants}

    def _is_over(self, login: str) -> bool | None:
        """A log-in that nobody knows is over: tokens do not outlive the record of their session. One that this member
        of several does not know may have been opened at another: None."""
        session = self.book.session(login)
        if session is None:
            return None if self.book.is_shared else True
        return self._has_ended(session)

    def _has_ended(self, session: Session) -> bool:
        return session.ended_s is not None or self._reason_to_end(session) is not None

    # -- words --------------------------------------------------------------------------------------------------------

    def _bound_issues(self, session: Session) -> None:
        """Each is an audit event; nobody shall wash the audit away with them."""
        minute = self._now_s() // 60
        since, count = self._issues.get(session.id, (minute, 0))
        count = count + 1 if since == minute else 1
        if count > ISSUES_PER_MINUTE_MAX:
            raise TooManyAttempts("too many credentials of one session", 60.0)
        self._issues[session.id] = (minute, count)

    def note_refused(self, session: Session, what: str, address: str) -> None:
        """The audit is told of what a session may not do."""
        whom = PROVIDER if session.tenant == PROVIDER else session.role
        self._refused(session.tenant, session.name, address, f"a {whom} may not {what}")

    def _refused(self, tenant: str, name: str, address: str, reason: str) -> None:
        data = {"name": name[:80], "host": address, "reason": reason, "tenant": tenant[:40]}
        self._around.gather(self._known(tenant), "session", data)

    def _places(self) -> dict[str, str]:
        return {name: tenant.place for name, tenant in self._around.trust().tenants.items()}

    def _is_there(self, tenant: str) -> bool:
        return tenant == PROVIDER or tenant in self._around.trust().tenants

    def _known(self, tenant: str) -> str:
        """Whose audit it is; "" is the provider's own, and of whom nobody knows."""
        return tenant if tenant in self._around.trust().tenants else ""

    async def _tell(self, session: Session, outcome: str, data: Mapping[str, object]) -> None:
        about = {"name": session.name, "session": session.id, **_whose(session.tenant)}
        await self._around.audit(self._known(session.tenant), "session", outcome, about | dict(data))

    async def _tell_user(self, changed: Changed) -> None:
        user, old = changed
        before = None if old is None else shown_user(old)
        outcome = "removed" if user.is_removed else "changed" if before is not None else "added"
        has_new = {
            "new_password": old is not None and not user.is_removed and old.password != user.password,
            "new_second_factor": old is not None and user.totp is not None and old.totp != user.totp,
        }  # fmt: skip
        data = act_data(
            user.changed_by, user.changed_from, before, shown_user(user), name=user.name, **_whose(user.tenant),
            **{name: True for name, is_so in has_new.items() if is_so},
        )  # fmt: skip
        once = f"login_user {user.tenant} {user.name} {user.epoch}" if self.book.is_shared else ""
        await self._around.audit(self._known(user.tenant), "login_user", outcome, data, once)

    def _now_s(self) -> int:
        return self._clock.now_ns() // 1_000_000_000


def sites_below(tenant: HubTenant, paths: Sequence[str]) -> list[str]:
    """Sites that lie in one of `paths` with all they have; a site that is larger than the path is not among them."""
    return sites_in({name: site.place for name, site in tenant.sites.items() if not site.is_revoked}, paths)


def _rights(session: Session) -> dict[str, object]:
    return {"role": session.role, "paths": session.paths, "via": session.via}


def _whose(tenant: str) -> dict[str, object]:
    """In the provider's audit, where what could not be told to a tenant lies too."""
    return {"tenant": tenant} if tenant == PROVIDER else {}


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _wrong() -> AuthError:
    return AuthError("wrong name, password or code", next_step="try again, or ask for a new password", code="MS-2121")


def _unread() -> Unreachable:
    return Unreachable(
        "who is logged in is not known here just now", retry_after_s=1.0, code="MS-2130",
        next_step="ask again in a moment, or another member of the hub",
    )  # fmt: skip
