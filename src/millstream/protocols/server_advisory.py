"""What nats-server announces about itself, as events that a person can read. Pure: subject and bytes in, event out.

Advisories of JetStream (ADR-8, ``io.nats.jetstream.advisory.v1.*``) and of the system account
(``io.nats.server.advisory.v1.*``), as nats-server 2.15.1 sends them. What every program causes by just working
(requests to the API, short-lived consumers, clients that come and go) gives no event.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from millstream.kernel import AuthError
from millstream.protocols.nats_jwt import read_token

Severity = Literal["info", "warning", "alarm"]

EVENT_TYPE = "millstream.server"
QUORUM_LOST, QUORUM_BACK, LEADER_ELECTED = "quorum_lost", "quorum_back", "leader_elected"
NEAR_RATIO, FAR_RATIO = 0.8, 0.7
"""A limit counts as near from the first on, until the second."""
_JETSTREAM, _SERVER = "io.nats.jetstream.advisory.v1.", "io.nats.server.advisory.v1."
_SHUTDOWN = re.compile(r"\$SYS\.SERVER\.[A-Z0-9]+\.SHUTDOWN\Z")
_TEXT_MAX = 200
JOINING_NAME = "join "
"""Before the site, in the name that a join file's token bears; no site or user has a name with a space."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event. `what` is the last part of its type, `code` explains it (None: nothing to be done), `id` is unique.
    `account` is the one that it concerns, as the server calls it ("": none)."""

    what: str
    severity: Severity
    text: str
    id: str
    code: str | None = None
    time_ns: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    account: str = ""

    def as_data(self) -> dict[str, Any]:
        """The event's data as it is stored."""
        return {"severity": self.severity, "code": self.code, "text": self.text, **self.data}


_Found = tuple[str, Severity, str, str | None, tuple[str, ...]]
"""What, severity, text, code, and which fields are data."""
_Reader = Callable[[Mapping[str, Any]], "_Found | None"]


def read_advisory(subject: str, payload: bytes, *, domain: str) -> ServerEvent | None:
    """The event of one message; None for what is none, is not worth one, or comes from another domain."""
    try:
        raw = msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return None
    if not isinstance(raw, dict) or raw.get("domain", domain) != domain:
        return None
    if _SHUTDOWN.match(subject):
        return _of_shutdown(raw, domain)
    kind = str(raw.get("type", ""))
    reader = _READERS.get(kind.removeprefix(_JETSTREAM).removeprefix(_SERVER))
    found = reader(raw) if reader is not None else None
    if found is None:
        return None
    what, severity, text, code, names = found
    data = {name: _short(raw[name]) for name in names if raw.get(name) is not None}
    if "replicas" in data:
        data["replicas"] = _gone(raw)
    account = str(raw.get("account") or _client(raw).get("acc") or "")
    return ServerEvent(what, severity, text[:400], str(raw.get("id", "")), code, _time_ns(raw), data, account)


def _of_shutdown(raw: Mapping[str, Any], domain: str) -> ServerEvent | None:
    server = raw.get("server")
    if not isinstance(server, dict) or server.get("domain", domain) != domain:
        return None
    name, seq = str(server.get("name")), server.get("seq")
    text = f"server {name} was stopped"
    return ServerEvent("server_stopped", "warning", text, f"{server.get('id')}/{seq}", "MS-2618", data={"server": name})


def _leader(raw: Mapping[str, Any]) -> _Found:
    behind = [str(r.get("name")) for r in raw.get("replicas") or () if not r.get("current", True)]
    text = f"{raw.get('leader')} leads {raw.get('stream') or 'the cluster'}"
    text += f"; not level yet: {', '.join(sorted(behind))}" if behind else ""
    return LEADER_ELECTED, "info", text, None, ("stream", "leader")


def _quorum(raw: Mapping[str, Any]) -> _Found:
    gone = _gone(raw)
    of = f"consumer {raw['consumer']} of {raw.get('stream')}" if "consumer" in raw else f"stream {raw.get('stream')}"
    text = f"{of} has no majority of its replicas; not there: {', '.join(gone) or 'unknown'}"
    return QUORUM_LOST, "alarm", text, "MS-2610", ("stream", "consumer", "replicas")


def _deliveries(raw: Mapping[str, Any]) -> _Found:
    text = (
        f"message {raw.get('stream_seq')} of {raw.get('stream')} was delivered {raw.get('deliveries')} times to "
        f"consumer {raw.get('consumer')} and never acknowledged"
    )
    return "max_deliveries", "warning", text, "MS-2611", ("stream", "consumer", "stream_seq", "deliveries")


def _connected(raw: Mapping[str, Any]) -> _Found | None:
    client = _client(raw)
    if client.get("kind") != "Leafnode" or _is_joining(client):
        return None
    return "leaf_connected", "info", f"{_who(client)} connected to {_server(raw)}", None, ()


def _disconnected(raw: Mapping[str, Any]) -> _Found | None:
    client, reason = _client(raw), str(raw.get("reason") or "no reason")
    if "slow consumer" in reason.lower():
        text = f"{_who(client)} was too slow for what it subscribes to and was cut off ({reason.lower()})"
        return "slow_consumer", "alarm", text, "MS-2613", ("reason",)
    if "maximum" in reason.lower() and "exceeded" in reason.lower():
        return "limit_reached", "alarm", f"{_who(client)} was refused: {reason.lower()}", "MS-2619", ("reason",)
    if client.get("kind") != "Leafnode" or _is_joining(client):
        return None
    return "leaf_lost", "warning", f"{_who(client)} is gone ({reason.lower()})", "MS-2612", ("reason",)


def _full(raw: Mapping[str, Any]) -> _Found:
    text = f"server {raw.get('server')} has no room for {raw.get('stream') or 'its streams'}"
    return "storage_full", "alarm", text, "MS-2614", ("server", "stream")


def _api_limit(raw: Mapping[str, Any]) -> _Found | None:
    if raw.get("dropped") == 0:  # what waited had been taken by then
        return None
    text = f"server {raw.get('server')} dropped {raw.get('dropped')} requests to JetStream: too many waited"
    return "api_limit", "warning", text, "MS-2615", ("server", "dropped")


def _abandoned(raw: Mapping[str, Any]) -> _Found:
    text = f"a batch for {raw.get('stream')} was given up before its end ({raw.get('reason')}): none of it is stored"
    return "batch_abandoned", "info", text, "MS-2616", ("stream", "reason")


def _stream(raw: Mapping[str, Any]) -> _Found | None:
    if raw.get("action") != "delete":
        return None
    return "stream_deleted", "warning", f"stream {raw.get('stream')} was deleted", "MS-2617", ("stream",)


def _snapshot(raw: Mapping[str, Any]) -> _Found:
    return "backup_taken", "info", f"a copy of {raw.get('stream')} was taken", None, ("stream",)


def _restored(raw: Mapping[str, Any]) -> _Found:
    return "restored", "warning", f"{raw.get('stream')} was made from a copy", "MS-2617", ("stream", "bytes")


def _removed(raw: Mapping[str, Any]) -> _Found:
    return (
        "server_removed",
        "warning",
        f"server {raw.get('server')} was taken out of the cluster",
        "MS-2618",
        ("server",),
    )


_READERS: Mapping[str, _Reader] = {
    "stream_leader_elected": _leader,
    "domain_leader_elected": _leader,
    "stream_quorum_lost": _quorum,
    "consumer_quorum_lost": _quorum,
    "max_deliver": _deliveries,
    "client_connect": _connected,
    "client_disconnect": _disconnected,
    "server_out_of_space": _full,
    "api_limit_reached": _api_limit,
    "stream_batch_abandoned": _abandoned,
    "stream_action": _stream,
    "snapshot_complete": _snapshot,
    "restore_complete": _restored,
    "server_removed": _removed,
}


@dataclass(slots=True)
class LimitWatch:
    """Which limits are near. Feed it now and then; each crossing is one event."""

    near: set[str] = field(default_factory=set)

    def feed(self, name: str, used: int, bound: int, time_ns: int) -> ServerEvent | None:
        """`used` of `bound` (not positive: none), in the same unit."""
        ratio = used / bound if bound > 0 else 0.0
        data = {"name": name, "used": used, "bound": bound}
        if name not in self.near and ratio >= NEAR_RATIO:
            self.near.add(name)
            text = f"{name} is {ratio:.0%} full"
            return ServerEvent("limit_near", "alarm", text, f"{name}/near/{time_ns}", "MS-2619", time_ns, data)
        if name in self.near and ratio < FAR_RATIO:
            self.near.discard(name)
            return ServerEvent(
                "limit_far", "info", f"{name} has room again", f"{name}/far/{time_ns}", None, time_ns, data
            )
        return None


@dataclass(slots=True)
class AlarmWatch:
    """Alarms of a node as events: one when it is raised, one when it is over."""

    raised: dict[str, str] = field(default_factory=dict)

    def feed(self, alarms: Mapping[str, str], time_ns: int) -> list[ServerEvent]:
        """`alarms`: code -> message, all that are raised now."""
        events = [
            ServerEvent("alarm_raised", "alarm", text, f"{code}/raised/{time_ns}", code, time_ns)
            for code, text in alarms.items() if code not in self.raised
        ]  # fmt: skip
        events += [
            ServerEvent("alarm_over", "info", f"over: {text}", f"{code}/over/{time_ns}", code, time_ns)
            for code, text in self.raised.items() if code not in alarms
        ]  # fmt: skip
        self.raised = dict(alarms)
        return events


def merged_losses(events: Sequence[ServerEvent]) -> ServerEvent:
    """One event of all that lost their majority together: a server announces each stream and consumer by itself. It
    has the id of the first, the worst (with the most replicas gone) by its name, and all of them in `streams` and
    `consumers`."""
    worst = max(events, key=lambda one: (len(one.data.get("replicas", ())), "consumer" not in one.data))
    streams, consumers = (sorted({_lost_name(e) for e in events if ("consumer" in e.data) is is_one})
                          for is_one in (False, True))  # fmt: skip
    count = len(streams) + len(consumers)
    kinds = [f"{len(found)} {what}{'s' if len(found) > 1 else ''}"
             for found, what in ((streams, "stream"), (consumers, "consumer")) if found]  # fmt: skip
    text = f"{' and '.join(kinds)} have no majority of their replicas; the worst: {worst.text}"
    data = {"count": count, "worst": _lost_name(worst), "streams": streams, "consumers": consumers}
    first = events[0]
    return replace(first, text=(worst.text if count == 1 else text)[:400], data=data)


def majority_back(lost: ServerEvent, now_ns: int) -> ServerEvent:
    """All that one event of `merged_losses` named have a leader again."""
    data = {name: lost.data[name] for name in ("count", "streams", "consumers")} | {"lost": lost.id}
    seconds = max(0, now_ns - (lost.time_ns or now_ns)) / 1e9
    text = f"the majority of {lost.data['count']} streams and consumers is back after {seconds:.0f} s"
    return ServerEvent(QUORUM_BACK, "info", text, f"{lost.id}/back", "MS-2610", now_ns, data, lost.account)


def stream_key(event: ServerEvent) -> str:
    """Which stream it is about, with whose it is where several have one of that name."""
    tenant = event.data.get("tenant")
    return f"{tenant}/{event.data.get('stream')}" if tenant is not None else str(event.data.get("stream"))


def _lost_name(event: ServerEvent) -> str:
    consumer = event.data.get("consumer")
    return stream_key(event) if consumer is None else f"{stream_key(event)} > {consumer}"


def _gone(raw: Mapping[str, Any]) -> list[str]:
    return sorted(str(r.get("name")) for r in raw.get("replicas") or () if not r.get("current", True))


def _client(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    client = raw.get("client")
    return client if isinstance(client, dict) else {}


def _is_joining(client: Mapping[str, Any]) -> bool:
    """Whether it is a box that asks once, with a join file, to become an edge; the audit tells of it."""
    try:
        return str(read_token(str(client["jwt"])).claims.get("name", "")).startswith(JOINING_NAME)
    except (KeyError, AuthError):
        return False


def _who(client: Mapping[str, Any]) -> str:
    name = _short(client.get("name") or client.get("user") or "unknown")
    return f"{'edge' if client.get('kind') == 'Leafnode' else 'program'} {name} at {client.get('host')}"


def _server(raw: Mapping[str, Any]) -> str:
    server = raw.get("server")
    return str(server.get("name")) if isinstance(server, dict) else str(server)


def _short(value: Any) -> Any:
    return value[:_TEXT_MAX] if isinstance(value, str) else value


def _time_ns(raw: Mapping[str, Any]) -> int | None:
    try:
        moment = datetime.fromisoformat(str(raw["timestamp"])[:26].rstrip("Z")).replace(tzinfo=UTC)
    except (KeyError, ValueError):
        return None
    return int(moment.timestamp() * 1_000_000) * 1000
