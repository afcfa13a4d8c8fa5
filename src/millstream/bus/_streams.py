"""The streams of edges and hubs: their names, their configurations, and making them so (again).

Chosen after measuring nats-server 2.15.1:

- An edge's streams have ``limits`` retention, so a hub that loses its newest data takes it again by itself; a work
  queue would have deleted it.
- A hub's sourced streams are ``persist_mode: async``: a single replica that syncs each sourced message takes 5,000 a
  second (170 on a 5 ms disk), asynchronous 100,000; what a power loss takes from it stands at the edges still.
- The throughput stream listens on ``fast.uns.v1.>`` and stores ``uns.v1...``; transform, republishing, atomic and fast
  batches and sources all work together.
- The stream of what stays at the site is one more of these, on ``fast.site.uns.v1.>``: a kind that no hub takes from,
  and without live copies, which would cross the link to whoever listens at the hub.
- The stream of a node's flows listens on ``flow.uns.v1.>`` in the same way, since two streams of one server may not
  listen on the same subjects; transform, atomic batches and fencing by the stored subject work together.
- Republishing happens after storing, so live consumers see only what is stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from millstream.kernel import ConfigError, NotFoundError, PlantError
from millstream.protocols.module import MODULES, MODULES_PREFIX

StreamConfig = Mapping[str, Any]
"""A stream as JetStream's API wants it."""
Kind = Literal["I", "T", "S", "F", "MQTT", "DLQ"]
WhenFull = Literal["block", "drop_oldest", "thin"]

NAMESPACE = "uns.v1.>"
LIVE = "live.uns.v1.>"
FAST_PREFIX = "fast."
FLOW_PREFIX = "flow."
SITE_PREFIX = FAST_PREFIX + "site."
HUB_INTEGRITY, HUB_THROUGHPUT, HUB_LOCAL, HUB_DLQ = "H_INTEGRITY", "H_THROUGHPUT", "H_LOCAL", "H_DLQ"
HUB_FLOW = "H_FLOW"
FLOW_CONTROL = "FLOW_CONTROL"
CONTRACTS, CONTRACTS_PREFIX = "KV_contracts", "$KV.contracts."
CONTRACTS_BYTES_MAX = 64 << 20
CONTRACTS_COPY = "the contracts of the hub"
CONFIG, CONFIG_PREFIX = "KV_config", "$KV.config."
ROLLOUTS, ROLLOUTS_PREFIX = "KV_rollouts", "$KV.rollouts."
CONFIG_BYTES_MAX, ROLLOUTS_BYTES_MAX = 512 << 20, 128 << 20
MODULES_STORE_BYTES = 512 << 20
CONFIG_HISTORY = 64  # revisions of a site; what NATS allows a key-value bucket
MQTT_MESSAGES = "$MQTT_msgs"
TOLD_ONCE_S = 120.0
DLQ_BYTES_MAX = 256 << 20
LOCAL_BYTES_MAX = 1 << 30
RETIRED_AGE_S = 7 * 86400
_RETIRED = "retired."
STREAM_BYTES_MIN = 16 << 20  # a bound below a few storage blocks would thrash
_REPUBLISH = {"src": NAMESPACE, "dest": LIVE}
_NAME = re.compile(r"E_(?P<edge>.+)_(?P<kind>I|T|S|F|MQTT|DLQ)(?:_g(?P<generation>[1-9]\d*))?\Z")


@dataclass(frozen=True, slots=True)
class StreamBounds:
    """How much a stream may hold, and what happens when that is reached.

    `block` refuses new messages (the source is held back), `drop_oldest` discards the oldest. `thin` discards the
    oldest too, as the last resort: thinning is the writer's work, long before the bound.
    """

    max_bytes: int
    max_age_s: float | None = None
    when_full: WhenFull = "block"


@dataclass(frozen=True, slots=True)
class StreamName:
    """An edge's stream name, taken apart."""

    edge: str
    kind: Kind
    generation: int = 1

    def __str__(self) -> str:
        suffix = "" if self.generation == 1 else f"_g{self.generation}"
        return f"E_{self.edge}_{self.kind}{suffix}"

    @classmethod
    def parse(cls, text: str) -> StreamName | None:
        """The parts of ``E_<edge>_<kind>[_g<n>]``; None for another stream."""
        match = _NAME.match(text)
        if match is None:
            return None
        kind: Kind = match["kind"]  # type: ignore[assignment]  # the expression admits no other
        return cls(match["edge"], kind, int(match["generation"] or 1))


class JetStreamApi(Protocol):
    """The part of `StreamApi` that this needs."""

    @property
    def replicas(self) -> int:
        """How many servers keep each stream."""
        ...

    async def request(self, subject: str, body: object | None = None, *, timeout_s: float = 5.0) -> dict[str, Any]:
        """One request of JetStream's API; raises the PlantError that fits a refusal."""
        ...


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What a server says of one stream. `sources` maps an origin's stream name to its cursor and error. `led_by` is the
    same as long as the same replica leads without a break; "" while none does, None for a stream on one server."""

    name: str
    created: str
    messages: int
    bytes: int
    first_seq: int
    last_seq: int
    config: StreamConfig
    sources: Mapping[str, SourceInfo]
    led_by: str | None = None

    def as_dict(self) -> dict[str, object]:
        """As the node's status shows it."""
        return {
            "name": self.name, "messages": self.messages, "bytes": self.bytes, "first_seq": self.first_seq,
            "last_seq": self.last_seq,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """One source of a stream. `cursor_seq` is the newest origin sequence that is stored. Never trust a lag of 0: it is
    also shown for a source that stalled."""

    cursor_seq: int
    lag: int
    active_ns: int
    error: str | None


# -- configurations ---------------------------------------------------------------------------------------------------


def integrity_stream(name: str, bounds: StreamBounds) -> StreamConfig:
    """Atomic group commit, synced before the acknowledgement."""
    return {**_base(name, bounds), **_told_once(bounds), "subjects": [NAMESPACE], "allow_atomic": True,
            "republish": _REPUBLISH}  # fmt: skip


def throughput_stream(name: str, bounds: StreamBounds) -> StreamConfig:
    """Fast ingest, lazily synced."""
    return {
        **_base(name, bounds),
        "subjects": [FAST_PREFIX + NAMESPACE],
        "subject_transform": {"src": FAST_PREFIX + NAMESPACE, "dest": NAMESPACE},
        "allow_batched": True,
        "persist_mode": "async",
        "republish": _REPUBLISH,
    }


def site_stream(name: str, bounds: StreamBounds) -> StreamConfig:
    """Fast ingest of what stays at the site: the hub does not know this kind, and there are no live copies."""
    prefixed = {"src": SITE_PREFIX + NAMESPACE, "dest": NAMESPACE}
    config = {**throughput_stream(name, bounds), "subjects": [prefixed["src"]], "subject_transform": prefixed}
    return {key: value for key, value in config.items() if key != "republish"}


def flow_stream(name: str, bounds: StreamBounds) -> StreamConfig:
    """What a node's flows say, with their state: atomic group commit. Its node trims it, nothing else forgets."""
    return {
        **_base(name, bounds),
        "subjects": [FLOW_PREFIX + NAMESPACE],
        "subject_transform": {"src": FLOW_PREFIX + NAMESPACE, "dest": NAMESPACE},
        "allow_atomic": True,
        "republish": _REPUBLISH,
    }


def mqtt_stream(name: str, bounds: StreamBounds) -> StreamConfig:
    """What MQTT devices publish with QoS 1 or 2. The server acknowledges a PUBLISH once ``$MQTT_msgs`` has it, and
    keeps it there until this stream has it too; a stream on the topic itself would be a mere subscriber."""
    return {**_base(name, bounds), "sources": [{"name": MQTT_MESSAGES}]}


def deadletter_stream(name: str, node: str, *, edges: Sequence[StreamConfig] | None = None) -> StreamConfig:
    """What could not be understood, with its reason; the oldest goes first. At a hub also the edges' (`edges`)."""
    bounds = StreamBounds(DLQ_BYTES_MAX, None, "drop_oldest")
    config = {
        **_base(name, bounds), "subjects": [f"dlq.{node}.>"], "duplicate_window": 120 * 1_000_000_000,
        "allow_atomic": True,
    }  # fmt: skip
    return config if edges is None else {**config, "sources": list(edges)}


def contracts_stream(*, is_copy: bool = False) -> StreamConfig:
    """The key-value bucket of contracts: each version once, never changed. At an edge that has a hub a copy of the
    hub's, sequence by sequence."""
    return {
        **_base(CONTRACTS, StreamBounds(CONTRACTS_BYTES_MAX)),
        "subjects": [CONTRACTS_PREFIX + ">"],
        "max_msgs_per_subject": 1,
        "deny_delete": True,
        "description": CONTRACTS_COPY if is_copy else "the contracts that hold here",
    }


def config_stream() -> StreamConfig:
    """The key-value bucket of the sites' configurations: a key a site, its newest 64 revisions, none of them deleted
    by hand."""
    return {
        **_base(CONFIG, StreamBounds(CONFIG_BYTES_MAX)),
        "subjects": [CONFIG_PREFIX + ">"],
        "max_msgs_per_subject": CONFIG_HISTORY,
        "deny_delete": True,
        "deny_purge": True,
        "description": "the configurations of the sites",
    }


def rollouts_stream() -> StreamConfig:
    """The key-value bucket of roll-outs: each with its progress, and the revisions that it will release."""
    return {
        **_base(ROLLOUTS, StreamBounds(ROLLOUTS_BYTES_MAX)),
        "subjects": [ROLLOUTS_PREFIX + ">"],
        "max_msgs_per_subject": 1,
        "description": "roll-outs of configurations",
    }


def modules_stream() -> StreamConfig:
    """The object store of modules, as NATS' own tools know it; full, it takes no more."""
    return {
        **_base(MODULES, StreamBounds(MODULES_STORE_BYTES)),
        "subjects": [f"{MODULES_PREFIX}C.>", f"{MODULES_PREFIX}M.>"],
        "allow_rollup_hdrs": True,
        "description": "modules of flows, by digest",
    }


def hub_stream(name: str, bounds: StreamBounds, sources: Sequence[StreamConfig]) -> StreamConfig:
    """A stream without subjects that takes what edges and the hub itself stored. It republishes nothing: live copies
    come from the streams where things were stored first, not behind a backlog."""
    return {**_base(name, bounds), "sources": list(sources), "persist_mode": "async"}


def local_stream(bounds: StreamBounds) -> StreamConfig:
    """What is published at the hub; H_INTEGRITY sources it."""
    return {**_base(HUB_LOCAL, bounds), **_told_once(bounds), "subjects": [NAMESPACE], "allow_atomic": True,
            "republish": _REPUBLISH}  # fmt: skip


def edge_source(stream: str, domain: str) -> StreamConfig:
    """A source in an edge's domain."""
    return {"name": stream, "external": {"api": f"$JS.{domain}.API"}}


def cursors_subject(edge: str) -> str:
    """Where a hub tells an edge its cursors: JSON, stream name -> [sequence, error or null]; and how far its bucket of
    contracts is, in the same shape."""
    return f"millstream.node.{edge}.cursors"


def retired_stream(config: StreamConfig) -> StreamConfig:
    """The same stream when a new generation has taken its place: it is read until the hub has all, and not written.
    What is in it goes after a week, long enough for a hub that loses its newest data."""
    kept = {k: v for k, v in config.items() if k not in ("republish", "subject_transform", "sources")}
    return {**kept, "subjects": [f"{_RETIRED}{config['name']}"], "max_age": RETIRED_AGE_S * 1_000_000_000}


def is_retired(config: StreamConfig) -> bool:
    """True for a stream that a newer generation has replaced."""
    return any(str(subject).startswith(_RETIRED) for subject in config.get("subjects") or ())


def _base(name: str, bounds: StreamBounds) -> dict[str, Any]:
    return {
        "name": name,
        "storage": "file",
        "retention": "limits",
        "num_replicas": 1,
        "allow_direct": True,
        "discard": "new" if bounds.when_full == "block" else "old",
        "max_bytes": bounds.max_bytes,
        "max_age": int((bounds.max_age_s or 0) * 1e9),
        "duplicate_window": _dedupe_window_ns(bounds),
    }


def _dedupe_window_ns(bounds: StreamBounds, wanted_s: float = 1.0) -> int:
    """Where nothing relies on deduplication the shortest window keeps its memory small. It may not exceed the age."""
    return int(min(wanted_s, bounds.max_age_s or wanted_s) * 1e9)


def _told_once(bounds: StreamBounds) -> dict[str, Any]:
    """Where single messages are stored first that bear a ``Nats-Msg-Id``: events, what the SDK publishes. Whoever had
    no answer sends one again after seconds. Stored twice here, the second would be dropped by the hub's stream, which
    takes both within its own window: a hole in the numbers of the origin, which the ledger tells as a gap (measured).
    """
    return {"duplicate_window": _dedupe_window_ns(bounds, TOLD_ONCE_S)}


def fit_bounds(wanted: Mapping[str, int], room_bytes: int) -> dict[str, int]:
    """Bounds that fit into `room_bytes` together: as wanted, or all reduced in proportion (never below 16 MiB)."""
    total = sum(wanted.values())
    if total <= room_bytes or not total:
        return dict(wanted)
    return {name: max(STREAM_BYTES_MIN, size * room_bytes // total) for name, size in wanted.items()}


# -- making them so ---------------------------------------------------------------------------------------------------


async def find_stream(api: JetStreamApi, name: str) -> StreamInfo | None:
    """What the server says of `name`; None when there is no such stream. Raises Unreachable."""
    try:
        return _parse_info(await api.request(f"STREAM.INFO.{name}"))
    except NotFoundError:
        return None


async def list_streams(api: JetStreamApi, *, timeout_s: float = 5.0) -> list[str]:
    """All stream names of the domain. Raises Unreachable."""
    names: list[str] = []
    while True:
        page = await api.request("STREAM.NAMES", {"offset": len(names)}, timeout_s=timeout_s)
        found = page.get("streams") or []
        names += found
        if not found or len(names) >= int(page.get("total", 0)):
            return names


async def ensure_stream(api: JetStreamApi, config: StreamConfig) -> StreamInfo:
    """Create the stream, or bring what differs to `config`; safe to repeat. Raises PlantError with the next step.

    A bound is never lowered under what a stream holds: the server would discard the oldest messages to fit.
    """
    name, config = config["name"], for_replicas(config, api.replicas)
    found = await find_stream(api, name)
    if found is None:
        return _parse_info(await _change(api, f"STREAM.CREATE.{name}", config))
    wanted = dict(config)
    if 0 < wanted.get("max_bytes", 0) < found.bytes:
        wanted["max_bytes"] = found.bytes
    if not _differs(found.config, wanted):
        return found
    if found.config.get("persist_mode", "") != wanted.get("persist_mode", ""):
        wanted["persist_mode"] = found.config.get("persist_mode", "")  # cannot be changed after creation
    merged = {**found.config, **wanted}
    return _parse_info(await _change(api, f"STREAM.UPDATE.{name}", merged))


def for_replicas(config: StreamConfig, replicas: int) -> StreamConfig:
    """The same stream kept by several servers. Then nothing is acknowledged before a majority has it on disk, and
    `persist_mode: async`, which nats-server has for single replicas only, falls away. Fast batches would gain nothing
    without it, and only atomic ones fence a box that believes it still writes; so it takes those."""
    if replicas == 1:
        return config
    kept = {k: v for k, v in config.items() if k not in ("persist_mode", "allow_batched")}
    return {**kept, **({"allow_atomic": True} if "allow_batched" in config else {}), "num_replicas": replicas}


async def purge_below(api: JetStreamApi, stream: str, seq: int) -> int:
    """Delete all messages before `seq`; how many. The stream's next sequence becomes at least `seq`."""
    return int((await api.request(f"STREAM.PURGE.{stream}", {"seq": seq}))["purged"])


async def delete_stream(api: JetStreamApi, stream: str) -> None:
    """Delete; no error when it is not there."""
    try:
        await api.request(f"STREAM.DELETE.{stream}")
    except NotFoundError:
        return


async def _change(api: JetStreamApi, subject: str, config: StreamConfig) -> dict[str, Any]:
    try:
        return await api.request(subject, {k: v for k, v in config.items() if v is not None}, timeout_s=30.0)
    except PlantError as error:
        if "(10047)" in str(error):
            raise ConfigError(
                "the disk has no room for the stream's bound",
                where=config["name"],
                expected=f"{config.get('max_bytes')} bytes",
                got=error.got,
                next_step="lower max_bytes, or give data_dir a larger disk",
                code="MS-0610",
            ) from error
        raise


def _differs(have: StreamConfig, want: StreamConfig) -> bool:
    return any(_plain(have.get(key)) != _plain(value) for key, value in want.items())


def _plain(value: object) -> object:
    """The server leaves out empty fields and adds empty ones of its own."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items() if v not in (None, "", 0, False, [], {})}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value or None


def _parse_info(raw: Mapping[str, Any]) -> StreamInfo:
    state = raw["state"]
    return StreamInfo(
        raw["config"]["name"], raw.get("created", ""), state["messages"], state["bytes"], state["first_seq"],
        state["last_seq"], raw["config"], {s["name"]: _parse_source(s) for s in raw.get("sources") or ()},
        _led_by(raw),
    )  # fmt: skip


def _led_by(raw: Mapping[str, Any]) -> str | None:
    cluster = raw.get("cluster") or {}
    if not cluster.get("replicas"):
        return None
    leader, since = cluster.get("leader"), cluster.get("leader_since")
    return f"{leader} since {since}" if leader and since else ""


def _parse_source(raw: Mapping[str, Any]) -> SourceInfo:
    error = raw.get("error")
    text = f"{error.get('description', '')} ({error.get('err_code', 0)})" if error else None
    return SourceInfo(int(raw.get("seq", 0)), int(raw.get("lag", 0)), int(raw.get("active", -1)), text)
