"""What sites listen to at this box's server, held against what they may hear.

nats-server refuses a site's subscription to one subject that it may not hear, hangs up, and says so in its log. One
with wildcards it takes in silence, and delivers of it what may be heard: an edge where a program listens to ``>`` sends
just that, and is told of, once. One that has nothing in common with what the site may hear no edge's server sends: who
has such a one is hung up on. The server announces no subscription, so the hub asks it, once a second for how many there
are and for which when that has changed, else in each fifth second: what stands for less may be missed, and has heard
nothing either.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from millstream.bus import RawConnection
from millstream.hub._audit import Violation
from millstream.kernel import AuthError, Clock, PlantError, ProtocolViolation
from millstream.protocols.nats_jwt import Token, read_token
from millstream.protocols.nats_rights import Hearing, hearing_of, scopes_of
from millstream.protocols.nats_wire import WireMessage
from millstream.trust import HubTenant

CONNECTED_SUBJECT, GONE_SUBJECT = "$SYS.ACCOUNT.*.CONNECT", "$SYS.ACCOUNT.*.DISCONNECT"
LOOK_INTERVAL_S = 1.0
LOOK_REST = 50  # so many times longer than a look took is the pause behind it, however many sites there are
RESTS_COUNT_MAX = 4  # looks in which no list is asked for, while no link has more or fewer subscriptions than before
LINKS_COUNT_MAX = 16_384  # of whom it is remembered who they are; of the oldest no more
SUBSCRIPTIONS_COUNT_MAX = 5000  # of one link, some hundred with an edge's; a list of more is not even asked for
TOLD_COUNT_MAX = 16  # subscriptions of one link that are told one by one in a look; more are one
WIDER_COUNT_MAX = 4096  # which of them were told, so that a bad link does not tell them at each return
WIDER_AGAIN_S = 3600.0
LINK = "LEAFNODE"
REFUSED, WIDER = "subscription violation", "wider subscription, of which only what may be heard is delivered"
TOO_MANY = f"more than {SUBSCRIPTIONS_COUNT_MAX} subscriptions"


class LinkInfo(msgspec.Struct, frozen=True):
    """One link, as the server lists it (LEAFZ)."""

    id: int
    account: str
    ip: str = ""
    subscriptions: int = 0
    subscriptions_list: list[str] = []


class _Links(msgspec.Struct, frozen=True):
    leafs: list[LinkInfo] | None = None


class _Answer(msgspec.Struct, frozen=True):
    data: _Links


@dataclass(frozen=True, slots=True)
class Who:
    """Whose a link is: what its token says, which the server has proven."""

    token: Token
    name: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a link listens to and may not hear. `is_cut`: the server would never have been sent that."""

    link: LinkInfo
    who: Who | None
    subject: str
    reason: str
    is_cut: bool


@dataclass(slots=True)
class ListeningBook:
    """Who is linked, and what was judged of it already. Pure."""

    who: dict[int, Who] = field(default_factory=dict)
    judged: dict[int, frozenset[str]] = field(default_factory=dict)
    scopes: dict[str, tuple[str, Mapping[str, Mapping[str, object]]]] = field(default_factory=dict)
    wider: dict[tuple[str, str], int] = field(default_factory=dict)

    def connected(self, id: int, who: Who) -> None:
        """A link was made."""
        self.who[id] = who
        while len(self.who) > LINKS_COUNT_MAX:
            del self.who[next(iter(self.who))]

    def gone(self, id: int) -> None:
        """It ended."""
        self.who.pop(id, None)

    def count(self, links: Sequence[LinkInfo]) -> list[Found]:
        """Those of all links that have too many subscriptions for a list of them to be asked for."""
        self.judged = {link.id: self.judged.get(link.id, frozenset()) for link in links}
        return [
            Found(link, self.who.get(link.id), "", TOO_MANY, is_cut=True)
            for link in links if link.subscriptions > SUBSCRIPTIONS_COUNT_MAX
        ]  # fmt: skip

    def judge(self, links: Sequence[LinkInfo], tenants: Mapping[str, HubTenant], now_ns: int) -> list[Found]:
        """What is new in the lists of links. `tenants`: by their plants' accounts."""
        return [
            found for link in links if link.account in tenants
            for found in self._of_link(link, tenants[link.account], now_ns)
        ]  # fmt: skip

    def _of_link(self, link: LinkInfo, tenant: HubTenant, now_ns: int) -> list[Found]:
        wild = frozenset(each for each in link.subscriptions_list if "*" in each or each.endswith(">"))
        new = sorted(wild - self.judged.get(link.id, frozenset()))
        self.judged[link.id] = wild
        if not new:
            return []
        who = self.who.get(link.id)
        hearings = self._hearings(tenant, who)
        found = [(each, _fit(hearings, each)) for each in new]
        cut = [subject for subject, fit in found if fit == "apart"]
        wider = [subject for subject, fit in found if fit == "wider" and self._is_due(link, who, subject, now_ns)]
        return [Found(link, who, each, REFUSED, is_cut=True) for each in _bounded(cut)] + [
            Found(link, who, each, WIDER, is_cut=False) for each in _bounded(wider)
        ]

    def _hearings(self, tenant: HubTenant, who: Who | None) -> Sequence[Hearing]:
        """What the link may hear. Whose it is was not heard when it was made while the hub had no ears, just after
        the server's start: then as if it were whichever of the tenant's sites it would have to be."""
        text, scopes = self.scopes.get(tenant.plant_public, ("", {}))
        if text != tenant.plant_token:
            scopes = scopes_of(read_token(tenant.plant_token))
            self.scopes[tenant.plant_public] = (tenant.plant_token, scopes)
        if who is not None:
            return [hearing_of(scopes, who.token)]
        keys = [key for key, template in scopes.items() if LINK in _connections(template)]
        return [hearing_of(scopes, _as_if(site, key)) for key in keys for site in tenant.sites]

    def _is_due(self, link: LinkInfo, who: Who | None, subject: str, now_ns: int) -> bool:
        key = (link.ip if who is None else who.token.subject, subject)
        told_ns = self.wider.get(key)
        if told_ns is not None and now_ns - told_ns < WIDER_AGAIN_S * 1e9:
            return False
        self.wider.pop(key, None)  # the newest stand last
        self.wider[key] = now_ns
        while len(self.wider) > WIDER_COUNT_MAX:
            del self.wider[next(iter(self.wider))]
        return True


def _fit(hearings: Sequence[Hearing], subject: str) -> str:
    fits = {hearing.judge(subject) for hearing in hearings}
    return next((fit for fit in ("within", "wider") if fit in fits), "apart")


def _connections(template: Mapping[str, object]) -> Sequence[object]:
    found = template.get("allowed_connection_types")
    return found if isinstance(found, list) else ()


def _as_if(site: str, key: str) -> Token:
    """An edge's token without its key."""
    return Token("", {"iss": key, "name": site, "nats": {"tags": [f"site:{site}"]}})


def _bounded(subjects: Sequence[str]) -> Iterable[str]:
    rest = len(subjects) - TOLD_COUNT_MAX
    return subjects if rest <= 0 else [*subjects[:TOLD_COUNT_MAX], f"and {rest} more"]


class Listening:
    """`listen` once, and `run` beside. `refused` hears of who is known, `violated` of who is known once it is gone."""

    def __init__(
        self, system: RawConnection, tenants: Callable[[], Mapping[str, HubTenant]],
        refused: Callable[[str, Mapping[str, object]], None], violated: Callable[[Violation], None], clock: Clock,
    ) -> None:  # fmt: skip
        self._system = system
        self._tenants = tenants
        self._refused = refused
        self._violated = violated
        self._clock = clock
        self._book = ListeningBook()
        self._origins: dict[str, str] = {}
        self._counts: dict[int, int] = {}
        self._rested = 0

    def listen(self) -> None:
        """From here on it is known whose each new link is."""
        self._system.subscribe(CONNECTED_SUBJECT, self._hear_connected)
        self._system.subscribe(GONE_SUBJECT, self._hear_gone)

    def origin_of(self, key: str) -> str:
        """The address from which the holder of a key linked to any server of the hub last; "" when it did not."""
        return self._origins.get(key, "")

    async def run(self) -> None:
        """Look at what the links listen to, until cancelled."""
        while True:
            began_ns = self._clock.monotonic_ns()
            with contextlib.suppress(PlantError):  # the server restarts: looked at again
                await self.look()
            took_s = (self._clock.monotonic_ns() - began_ns) / 1e9
            await self._clock.sleep(max(LOOK_INTERVAL_S, LOOK_REST * took_s))

    async def look(self) -> None:
        """Once. Raises PlantError."""
        links = await self._ask({})
        found = self._book.count(links)
        counts = {link.id: link.subscriptions for link in links}
        if counts == self._counts and self._rested < RESTS_COUNT_MAX:
            self._rested += 1
            return
        self._counts, self._rested = counts, 0
        tenants = {tenant.plant_public: tenant for tenant in self._tenants().values()}
        excessive = {each.link.account for each in found}
        others = sorted({link.account for link in links} - excessive)
        for wanted in [{"account": account} for account in others] if excessive else [{}] if links else []:
            listed = await self._ask({"subscriptions": True, **wanted})
            found += self._book.judge(listed, tenants, self._clock.monotonic_ns())
        for each in found:
            self._tell(each, tenants.get(each.link.account))
        for id in dict.fromkeys(each.link.id for each in found if each.is_cut):
            self._cut(id)

    def _tell(self, found: Found, tenant: HubTenant | None) -> None:
        link, who = found.link, found.who
        if who is None and found.is_cut:
            now_ns = self._clock.now_ns()
            self._violated(Violation(str(link.id), link.ip, "subscription", found.subject, link.account, "", now_ns))
            return
        self._refused(
            "" if tenant is None else tenant.name,
            {
                "host": link.ip, "reason": found.reason, "subject": found.subject[:200],
                "key": None if who is None else who.token.subject[:64], "name": None if who is None else who.name,
            },
        )  # fmt: skip

    def _server(self) -> str:
        return f"$SYS.REQ.SERVER.{self._system.info.get('server_id', '')}"

    async def _ask(self, options: Mapping[str, object]) -> Sequence[LinkInfo]:
        """The links to this box's own server: each member asks its own."""
        await self._system.wait_connected()
        payload = (await self._system.request(f"{self._server()}.LEAFZ", msgspec.json.encode(options)))[4]
        try:
            return msgspec.json.decode(payload, type=_Answer).data.leafs or ()
        except msgspec.DecodeError as error:
            raise ProtocolViolation("the server's list of links cannot be read", frame=payload[:256]) from error

    def _cut(self, id: int) -> None:
        # A request without a reply subject is not carried out; nobody waits for what it says.
        body = msgspec.json.encode({"cid": id})
        self._system.publish(f"{self._server()}.KICK", body, reply=f"{self._system.inbox}.kick")

    def _hear_connected(self, messages: list[WireMessage]) -> None:
        for message in messages:
            told = _read_link(message[4])
            if told is None:
                continue
            client, who = told
            self._origins.pop(who.token.subject, None)  # the newest stand last
            self._origins[who.token.subject] = client.client.host
            while len(self._origins) > LINKS_COUNT_MAX:
                del self._origins[next(iter(self._origins))]
            if self._is_own(client):
                self._book.connected(client.client.id, who)

    def _hear_gone(self, messages: list[WireMessage]) -> None:
        for message in messages:
            told = _read_link(message[4])
            if told is not None and self._is_own(told[0]):
                self._book.gone(told[0].client.id)

    def _is_own(self, told: _Announced) -> bool:
        return told.server.id == self._system.info.get("server_id")


class _Client(msgspec.Struct, frozen=True):
    id: int
    kind: str = ""
    jwt: str = ""
    host: str = ""


class _Server(msgspec.Struct, frozen=True):
    id: str


class _Announced(msgspec.Struct, frozen=True):
    client: _Client
    server: _Server


def _read_link(payload: bytes) -> tuple[_Announced, Who] | None:
    """What is announced of a link; None for what is none."""
    try:
        told = msgspec.json.decode(payload, type=_Announced)
        token = read_token(told.client.jwt) if told.client.kind == "Leafnode" else None
    except (msgspec.DecodeError, AuthError):
        return None
    return None if token is None else (told, Who(token, str(token.claims.get("name", ""))[:80]))
