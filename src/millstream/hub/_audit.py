"""The audit: who did what, from where, and what was refused; as events beside the tenant's data, in the same stream.

What concerns no tenant that is known here goes to the provider's own stream. A flood of refusals is one event with a
count, a few seconds long, so that whoever knocks cannot fill a disk.
"""

from __future__ import annotations

import re
import secrets
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from millstream.bus import RawConnection, StreamApi, StreamConfig, decode_answer, ensure_stream
from millstream.kernel import AuthError, Clock, PlantError
from millstream.model import AssetPath
from millstream.protocols.cloudevents import CloudEvent, encode_event
from millstream.protocols.nats_jwt import read_token
from millstream.protocols.nats_wire import WireMessage
from millstream.protocols.uns_subject import UnsAddress, encode_subject

PROVIDER_STREAM = "P_AUDIT"
PROVIDER_SUBJECT = "audit."
STREAM_BYTES_MAX = 256 << 20
REFUSED_SUBJECT = "$SYS.SERVER.*.CLIENT.AUTH.ERR"
GONE_SUBJECT = "$SYS.ACCOUNT.*.DISCONNECT"
GONE_COUNT_MAX = 4096  # of whom it is remembered who they were
VIOLATIONS_COUNT_MAX = 4096  # waiting to be told; more are counted
ATTRIBUTE_AFTER_S = 1.0  # a cut connection is announced within milliseconds
_VIOLATION = re.compile(
    r"\[ERR\] (?P<host>\S+?):\d+ - [a-z]+:(?P<connection>\d+) - (?:.*?\"(?P<account>A[A-Z2-7]{55})/[^\"]*?"
    r"(?:jwt:(?P<key>U[A-Z2-7]{55}))?\" - )?.*?(?P<what>Publish|Subscription) Violation.*?\"(?P<subject>[^\"]*)\""
)
SAME_FOR_S = 5.0  # equal refusals within this are one event with a count
KINDS_COUNT_MAX = 1000  # different refusals at a time; more are counted together


def provider_stream() -> StreamConfig:
    """Audit events of no tenant."""
    return {
        "name": PROVIDER_STREAM, "subjects": [f"{PROVIDER_SUBJECT}>"], "storage": "file", "retention": "limits",
        "num_replicas": 1, "max_bytes": STREAM_BYTES_MAX, "discard": "old", "allow_direct": True,
    }  # fmt: skip


@dataclass(slots=True)
class _Seen:
    data: dict[str, Any]
    since_ns: int
    count: int = 1


@dataclass(frozen=True, slots=True)
class AuditPlace:
    """Where a tenant's events go."""

    connection: RawConnection
    path: str


@dataclass(slots=True)
class Refusals:
    """Refused log-ins, gathered: equal ones are one entry with a count. Pure."""

    seen: dict[tuple[str, ...], _Seen] = field(default_factory=dict)

    def add(self, tenant: str, data: dict[str, Any], now_ns: int, what: str = "login") -> None:
        """One more."""
        parts = (str(data.get(name)) for name in ("host", "reason", "name", "key", "subject"))
        key: tuple[str, ...] = (tenant, what, *parts)
        if key not in self.seen and len(self.seen) >= KINDS_COUNT_MAX:
            key, data = ("", what), {"reason": "more kinds of refusals than are kept apart"}
        if key in self.seen:
            self.seen[key].count += 1
        else:
            self.seen[key] = _Seen(data, now_ns)

    def take(self, now_ns: int) -> list[tuple[str, str, dict[str, Any]]]:
        """Those that are old enough to be told: (tenant or "", what was refused, data)."""
        due = [key for key, seen in self.seen.items() if now_ns - seen.since_ns >= SAME_FOR_S * 1e9]
        return [
            (key[0], key[1], {**seen.data, "count": seen.count, "since_ns": seen.since_ns})
            for key, seen in ((key, self.seen.pop(key)) for key in due)
        ]


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that the server did not let pass, as its log has it. `connection` is the server's number of it."""

    connection: str
    host: str
    what: str
    subject: str
    account: str
    key: str
    time_ns: int


def read_violation(line: str, time_ns: int) -> Violation | None:
    """A line of the server's log; None for any other."""
    match = _VIOLATION.search(line)
    if match is None:
        return None
    found = match.groupdict(default="")
    return Violation(
        found["connection"], found["host"], found["what"].lower(), found["subject"][:200], found["account"],
        found["key"], time_ns,
    )  # fmt: skip


class Auditor:
    """Writes audit events. `place_of` gives where a tenant's go; None: to the provider. In a cluster each member tells
    what its own server (`server`, its name) refused."""

    def __init__(
        self, provider: RawConnection, place_of: Callable[[str], AuditPlace | None],
        tenant_of: Callable[[str], str | None], hub: str, clock: Clock, server: str | None = None,
    ) -> None:  # fmt: skip
        self._server = server
        self._provider = provider
        self._place_of = place_of
        self._tenant_of = tenant_of
        self._hub = hub
        self._clock = clock
        self._refusals = Refusals()
        self._gone: dict[str, tuple[str, dict[str, Any]]] = {}
        self._violations: deque[Violation] = deque(maxlen=VIOLATIONS_COUNT_MAX)
        self.violations_untold_count = 0
        self.failures_count = 0

    async def prepare(self) -> None:
        """Make the provider's stream. Raises PlantError."""
        await ensure_stream(StreamApi(self._provider), provider_stream())

    async def tell(
        self, tenant: str, what: str, outcome: str, data: Mapping[str, object], once: str = ""
    ) -> bool:  # fmt: skip
        """Store one event; whether it is stored. A store that does not take it is counted: an administrative act is not
        undone by that. Who tells one thing twice, such as members of a cluster that have all heard of it, names it by
        the same `once`; the stream takes the first within two minutes."""
        kind = ("millstream", "audit", what, outcome)
        now_ns = self._clock.now_ns()
        event = CloudEvent(secrets.token_hex(12), f"/{self._hub}", ".".join(kind), dict(data), now_ns)
        headers, payload = encode_event(event)
        headers = dict(headers) | ({"Nats-Msg-Id": once} if once else {})
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        place = self._place_of(tenant) if tenant else None
        if place is None:
            connection, subject = self._provider, PROVIDER_SUBJECT + ".".join(kind[2:])
        else:
            connection = place.connection
            subject = encode_subject(UnsAddress(AssetPath.parse(place.path), "_event", kind))
        try:
            decode_answer((await connection.request(subject, payload, header_lines=lines))[4], where=subject)
        except PlantError:
            self.failures_count += 1
            return False
        return True

    def gather(self, tenant: str, what: str, data: Mapping[str, object]) -> None:
        """A refusal of which there may be many: equal ones become one event with a count."""
        self._refusals.add(tenant, dict(data), self._clock.now_ns(), what)

    def gather_permission(self, tenant: str, data: Mapping[str, object]) -> None:
        """The same of what somebody who is logged in may not."""
        self.gather(tenant, "permission", data)

    def hear(self, messages: list[WireMessage]) -> None:
        """Refused log-ins, as the server announces them."""
        for message in messages:
            found = describe_refusal(message[4], self._server)
            if found is not None:
                account, data = found
                del data["connection"]
                self._refusals.add(self._tenant_of(account) or "", data, self._clock.now_ns())

    def hear_gone(self, messages: list[WireMessage]) -> None:
        """Connections that ended, as the server announces them: a leaf that broke its permissions is cut, and only then
        it is told whose it was."""
        for message in messages:
            found = describe_refusal(message[4], self._server)
            if found is not None:
                self._gone[str(found[1].pop("connection"))] = found
        while len(self._gone) > GONE_COUNT_MAX:
            del self._gone[next(iter(self._gone))]

    def note_log(self, lines: Sequence[str]) -> None:
        """New lines of the server's log."""
        for line in lines:
            found = read_violation(line, self._clock.now_ns())
            if found is not None:
                self.note(found)

    def note(self, violation: Violation) -> None:
        """One that is told once it is known whose it was."""
        self.violations_untold_count += len(self._violations) == VIOLATIONS_COUNT_MAX
        self._violations.append(violation)

    def _attribute(self) -> None:
        """Violations that are old enough for their connection's end to be known."""
        now_ns = self._clock.now_ns()
        while self._violations and now_ns - self._violations[0].time_ns > ATTRIBUTE_AFTER_S * 1e9:
            one = self._violations.popleft()
            account, who = self._gone.get(one.connection, (one.account, {}))
            data = {
                "host": one.host, "reason": f"{one.what} violation", "subject": one.subject,
                "key": one.key or who.get("key"), "name": who.get("name"),
            }  # fmt: skip
            self._refusals.add(self._tenant_of(account or one.account) or "", data, one.time_ns, "permission")

    async def flush(self) -> None:
        """Store what is due."""
        self._attribute()
        for tenant, what, data in self._refusals.take(self._clock.now_ns()):
            await self.tell(tenant, what, "refused", refusal_data(data))


def refusal_data(data: Mapping[str, object]) -> dict[str, object]:
    """With the fields that every event of the audit has. Who was refused is what it said of itself."""
    who = next((str(data[name]) for name in ("name", "key", "user") if data.get(name)), "")
    return {"who": who, "from": str(data.get("host") or ""), "before": None, "after": None, **data}


def describe_refusal(payload: bytes, server: str | None = None) -> tuple[str, dict[str, Any]] | None:
    """(account that was claimed, what is known of who knocked) of a server's advisory; None for what is none, or comes
    from another than `server`. What the token says is a claim, since it was refused."""
    try:
        raw = msgspec.json.decode(payload)
        client, reason = raw["client"], str(raw.get("reason", ""))
        teller = raw["server"]["name"] if server is not None else None
    except (msgspec.DecodeError, KeyError, TypeError):
        return None
    if not isinstance(client, dict) or teller != server:
        return None
    data: dict[str, Any] = {
        "connection": client.get("id"), "host": client.get("host"), "reason": reason.lower(),
        "kind": client.get("kind"), "user": client.get("user") or client.get("name"),
    }  # fmt: skip
    account = ""
    if isinstance(client.get("jwt"), str):
        try:
            token = read_token(client["jwt"])
            account, name = token.account, str(token.claims.get("name", ""))[:80]
            data |= {"name": name, "key": token.subject[:64], "expires_s": token.expires_s}
        except AuthError:
            data["token"] = "unreadable"  # noqa: S105 (a description, not a secret)
    return account, data
