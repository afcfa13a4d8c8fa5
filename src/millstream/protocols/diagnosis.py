"""What is wrong with a node, as far as its files, its answers and this machine tell. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from millstream.kernel import PlantError, duration_text, printable, size_text

Severity = Literal["critical", "warning", "info"]
SKEW_WARNING_S = 1.0  # between two clocks; live age and windows are off by as much
SKEW_CRITICAL_S = 60.0
DISK_FREE_WARNING, DISK_FREE_CRITICAL = 0.10, 0.03  # of the file system that holds the streams
FILL_WARNING, FILL_CRITICAL = 0.80, 0.95  # of a stream's bound
QUIET_S = 60.0  # a connector without a sample for as long is worth a word


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: what it is, and what to do."""

    severity: Severity
    check: str
    message: str
    next_step: str
    code: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {name: getattr(self, name) for name in Finding.__slots__}


@dataclass(slots=True)
class Facts:
    """What was found out. `None` and empty mean that it could not be asked, which is no finding by itself."""

    now_ns: int
    nodes: Sequence[Mapping[str, Any]] = ()
    streams: Sequence[Mapping[str, Any]] = ()
    sync_always: bool | None = None
    disk: tuple[int, int] | None = None
    """Bytes free, bytes in all."""
    skews_s: Mapping[str, float] = field(default_factory=dict)
    """By name: how far another clock is ahead of this one."""
    data_dir: str | None = None


def from_error(check: str, error: PlantError) -> Finding:
    """A fault that came as an error."""
    parts = [f"{error.where}: {error.what}" if error.where else error.what]
    parts += [f"expected {error.expected}"] if error.expected else []
    parts += [f"got {error.got}"] if error.got else []
    return Finding(
        "critical", check, ", ".join(parts), error.next_step or f"run `millstream explain {error.code}`", error.code
    )


def judge(facts: Facts) -> list[Finding]:
    """All findings, the worst first."""
    found = [
        *_sync(facts),
        *_disk(facts),
        *_clocks(facts),
        *_streams(facts),
        *(finding for node in facts.nodes for finding in _node(node, facts.now_ns)),
    ]
    order = {"critical": 0, "warning": 1, "info": 2}
    return sorted(found, key=lambda finding: order[finding.severity])


def _sync(facts: Facts) -> Iterator[Finding]:
    if facts.sync_always is False:
        yield Finding(
            "critical", "sync", "the server acknowledges before data is on disk: a power loss takes acknowledged data",
            "set `sync_interval: always` in the server's jetstream section, or let Millstream start the server",
            "MS-0604",
        )  # fmt: skip


def _disk(facts: Facts) -> Iterator[Finding]:
    if facts.disk is None or facts.disk[1] == 0:
        return
    free, total = facts.disk
    if free / total >= DISK_FREE_WARNING:
        return
    yield Finding(
        "critical" if free / total < DISK_FREE_CRITICAL else "warning", "disk",
        f"{facts.data_dir}: only {size_text(free)} of {size_text(total)} free",
        "make room, or lower `max_bytes` of the streams; when the disk is full the sources are held back",
    )  # fmt: skip


def _clocks(facts: Facts) -> Iterator[Finding]:
    for name, skew_s in facts.skews_s.items():
        if abs(skew_s) < SKEW_WARNING_S:
            continue
        way = "ahead of" if skew_s > 0 else "behind"
        yield Finding(
            "critical" if abs(skew_s) >= SKEW_CRITICAL_S else "warning", "clock",
            f"the clock of {name} is {duration_text(abs(skew_s))} {way} this machine's",
            "let both follow a time server (chrony, systemd-timesyncd); what is stored stays as it is, and flagged",
        )  # fmt: skip


def _streams(facts: Facts) -> Iterator[Finding]:
    for stream in facts.streams:
        config, state = stream.get("config") or {}, stream.get("state") or {}
        name = str(config.get("name"))
        count = int(state.get("messages") or 0)
        if name.endswith("_DLQ") or name == "H_DLQ":
            if count:
                letters = f"{count} dead letter{'s' if count != 1 else ''}"
                yield Finding(
                    "warning", "dead letters", f"{name}: {letters}",
                    "look at them with `millstream deadletter list`, correct the sender, then `deadletter replay`",
                )  # fmt: skip
            continue
        bound, used = int(config.get("max_bytes") or -1), int(state.get("bytes") or 0)
        if bound > 0 and used / bound >= FILL_WARNING and not name.startswith(("$", "KV_", "OBJ_")):
            yield _full(name, used, bound, holds=config.get("discard") == "new")
        for source in stream.get("sources") or ():
            error = source.get("error") or {}
            if error:
                yield Finding(
                    "critical", "sources", f"{name}: source {source.get('name')} stopped: {error.get('description')}",
                    "restart the leaf link (restart the edge); if it stays, look at the server's log",
                )  # fmt: skip


def _full(name: str, used: int, bound: int, *, holds: bool) -> Finding:
    what = "the sources will be held back" if holds else "the oldest data will be dropped"
    severity: Severity = "critical" if holds and used / bound >= FILL_CRITICAL else "warning"
    return Finding(
        severity, "streams", f"{name}: {used / bound:.0%} of its {size_text(bound)} are used; when it is full, {what}",
        "restore the uplink, or raise `max_bytes` of the stream", "MS-0401" if holds else None,
    )  # fmt: skip


def _node(node: Mapping[str, Any], now_ns: int) -> Iterator[Finding]:
    name = f"{node.get('role')} {node.get('name')}"
    yield from _uplink(name, node.get("uplink"))
    for connector in node.get("connectors") or ():
        yield from _connector(name, connector, now_ns)
    for alarm in node.get("alarms") or ():
        code = str(alarm.get("code") or "")
        yield Finding(
            "warning", "alarms", f"{name}: {printable(alarm.get('message'))}",
            f"`millstream explain {code}` says what to do" if code else "see the node's log", code or None,
        )  # fmt: skip
    for origin, account in (node.get("ledger") or {}).items():
        if isinstance(account, dict) and account.get("is_clean") is False:
            bad = ", ".join(
                f"{account[field]} {field.replace('_', ' ')}"
                for field in ("gaps", "repeats", "out_of_order", "surplus", "samples_missing", "samples_surplus")
                if account.get(field)
            )
            yield Finding(
                "critical", "ledger", f"{name}: the account of {origin} does not balance: {bad}",
                "run `millstream ledger --recount` at the edge and at the hub to see where",
            )  # fmt: skip
    historian = node.get("historian")
    if isinstance(historian, dict) and historian.get("error"):
        yield Finding(
            "critical",
            "historian",
            f"{name}: {printable(historian['error'])}",
            "the data waits in the streams; see the log",
        )


def _uplink(name: str, uplink: Any) -> Iterator[Finding]:
    if not isinstance(uplink, dict) or uplink.get("state") not in ("cut", "hung", "behind"):
        return
    waits = f"{uplink.get('behind_messages') or 0} messages wait"
    texts = {
        "cut": ("critical", "no link to the hub", "check address, port, network and the edge's password at the hub"),
        "hung": ("critical", "the link to the hub is open but nothing moves", "the edge dials again; else restart it"),
        "behind": ("warning", "the hub is being caught up with", "wait; if it does not shrink, the link is too slow"),
    }
    severity, what, step = texts[uplink["state"]]
    yield Finding("critical" if severity == "critical" else "warning", "uplink", f"{name}: {what}, {waits}", step)


def _connector(node: str, connector: Mapping[str, Any], now_ns: int) -> Iterator[Finding]:
    name, state = f"{node}: connector {connector.get('name')}", connector.get("state")
    error = f": {printable(connector['error'])}" if connector.get("error") else ""
    if state in ("stopped", "degraded", "waiting"):
        texts = {
            "stopped": "correct what the message says (credentials or configuration), then restart the node",
            "degraded": "the link opens but brings nothing; look at the device and its tags with `millstream probe`",
            "waiting": "check that the device is on and reachable with `millstream probe`; it keeps trying",
        }
        yield Finding(
            "critical" if state == "stopped" else "warning", "connectors", f"{name} is {state}{error}", texts[state]
        )
    last_ns = connector.get("last_sample_ns")
    if state == "connected" and last_ns and now_ns - int(last_ns) > QUIET_S * 1e9:
        yield Finding(
            "info", "connectors", f"{name}: no sample for {duration_text((now_ns - int(last_ns)) / 1e9)}",
            "expected when nothing changes at the device; else look at the tags' addresses",
        )  # fmt: skip
    if connector.get("source_gaps"):
        yield Finding(
            "warning", "connectors", f"{name}: the source itself lost {connector['source_gaps']} samples",
            "raise its queue or buffer, or the sampling interval",
        )  # fmt: skip
