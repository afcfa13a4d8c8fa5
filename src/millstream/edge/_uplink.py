"""What cursors, stream states and log lines say about the way to the hub. Pure."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from millstream.bus import LeafRemote, StreamInfo
from millstream.kernel import Backoff

UplinkState = Literal["none", "flowing", "idle", "behind", "cut", "hung"]
FLOWING_NS = 2_000_000_000
BEHIND_AGE_MS = 2000  # older than this waits for more than a round trip and a check
REFUSED_FOR_S = 20.0  # a refusal counts so long after the last one
BUSY_PATIENCE = 4  # so many times longer may a cursor stand while anything comes over the link: the hub has much to do
REDIALS_BEFORE_RESTART = 3
REDIAL_CEILING_S = 600.0
ENDS_COUNT_MAX = 8  # checks that are remembered: more than come while a told cursor counts

_LEAF_REFUSED = re.compile(
    r"Leafnode Error '(?:Authorization|Authentication|User Authentication|Account Authentication)"
)
_LEAF_LIMIT = re.compile(r"Leafnode Error '(maximum [a-z ]+ exceeded)'", re.IGNORECASE)
_TLS_FAILED = re.compile(r"TLS leafnode handshake error: (.*)|Leafnode connection closed: TLS Handshake Failure")
_TLS_CAUSES = (
    ("unknown authority", "its certificate is of an authority that is not in `uplink.ca_file`"),
    ("expired or is not yet valid", "its certificate is out of its time, or one of the clocks is wrong"),
    ("is valid for", "its certificate is for another name than `uplink.url` has"),
    ("ip sans", "its certificate is for another name than `uplink.url` has"),
    ("not valid for any names", "its certificate is for another name than `uplink.url` has"),
    ("eof", "the handshake was broken off: no TLS there, or a link that fails"),
    ("timeout", "nobody answered the handshake: no TLS there, or a link that fails"),
    ("first record does not look like", "who answers there offers no TLS"),
    ("remote error", "it refuses the certificate of this edge, or wants one"),
)
_MQTT_REFUSED = re.compile(r"Publish Violation - .*Subject \"([^\"]+)\"")


@dataclass(slots=True)
class CursorWatch:
    """The hub's cursor of one stream over time. `end_seq` is where the stream ended when the cursor was told."""

    cursor_seq: int = 0
    moved_ns: int = 0
    waits_since_ns: int = 0
    end_seq: int = 0
    ends: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=ENDS_COUNT_MAX))

    def note(self, cursor: int | None, last_seq: int, now_ns: int, told_ns: int | None = None) -> None:
        """One check: the hub's cursor (None: not known now), the stream's last sequence, and when the cursor was told;
        None: now, or so long ago that all that came since is taken to wait."""
        has_grown = not self.ends or last_seq != self.ends[-1][1]
        self.ends.append((now_ns, last_seq))
        known = [seq for at_ns, seq in self.ends if told_ns is not None and at_ns <= told_ns]
        self.end_seq = known[-1] if known and has_grown else last_seq
        if cursor is not None:
            if cursor != self.cursor_seq:
                self.moved_ns = now_ns
            self.cursor_seq = cursor
        if self.cursor_seq >= last_seq:
            self.waits_since_ns = 0
        elif self.waits_since_ns == 0:
            self.waits_since_ns = now_ns

    def waiting(self, info: StreamInfo) -> int:
        """Messages that the hub did not have when it told its cursor: what was stored since says nothing of the link,
        and would look like a backlog that grows with the rate. Of a stream that has stood still since the check before
        all counts that the hub has not told of."""
        if info.messages == 0:
            return 0
        return max(0, min(self.end_seq, info.last_seq) - max(self.cursor_seq, info.first_seq - 1))

    def stuck_s(self, now_ns: int) -> float:
        """How long messages have waited without the cursor moving."""
        if self.waits_since_ns == 0:
            return 0.0
        return (now_ns - max(self.waits_since_ns, self.moved_ns)) / 1e9


@dataclass(frozen=True, slots=True)
class StreamFlow:
    """One stream at one check. `is_sourced`: the hub has a source for it."""

    watch: CursorWatch
    info: StreamInfo
    is_sourced: bool
    age_ms: int
    error: str | None


@dataclass(frozen=True, slots=True)
class UplinkStatus:
    """The way to the hub as the node's status shows it. `data_age_ms` is the age of the oldest message that the hub
    does not have, 0 when it has all; `cursor_seq` is that of the integrity stream."""

    state: UplinkState
    data_age_ms: int = 0
    cursor_seq: int = 0
    behind_messages: int = 0

    def as_dict(self) -> dict[str, object]:
        """As JSON."""
        return {
            "state": self.state,
            "data_age_ms": self.data_age_ms,
            "cursor_seq": self.cursor_seq,
            "behind_messages": self.behind_messages,
        }


def judge(flows: Sequence[StreamFlow], *, is_hub_there: bool, is_hung: bool, now_ns: int) -> UplinkStatus:
    """The state at one check: `cut` when the hub does not answer, `hung` when `is_hung` says so."""
    behind = sum(flow.watch.waiting(flow.info) for flow in flows)
    age_ms = max((flow.age_ms for flow in flows), default=0)
    has_moved = any(now_ns - flow.watch.moved_ns < FLOWING_NS for flow in flows if flow.watch.moved_ns)
    state: UplinkState
    if is_hung:
        state = "hung"
    elif not is_hub_there:
        state = "cut"
    elif behind and age_ms > BEHIND_AGE_MS:
        state = "behind"
    else:
        state = "flowing" if behind or has_moved else "idle"
    return UplinkStatus(state, age_ms, flows[0].watch.cursor_seq if flows else 0, behind)


def stuck_s(flows: Sequence[StreamFlow], *, is_hub_there: bool, now_ns: int) -> float:
    """The longest time that messages of a stream have waited without the hub's cursor moving. A stream that the hub
    does not source (yet) does not count while the hub answers: dialling again would not help it."""
    return max((f.watch.stuck_s(now_ns) for f in flows if f.is_sourced or not is_hub_there), default=0.0)


class LinkEar:
    """Whether the way to a hub that does not answer hangs, by the server's count of what came over its link. Messages
    have waited for too long: soon where nothing comes over the link that the server believes in, late where the hub is
    heard: it takes what it can, and being dialled again would cost it more. Pure."""

    def __init__(self, hang_s: float) -> None:
        self._hang_s = hang_s
        self._count: int | None = None
        self._heard_ns = 0

    def is_hung(self, stuck_s: float, count: int | None, now_ns: int) -> bool:
        """`count`: messages that came over the link; None: there is no link, so it cannot hang."""
        if count is None:
            return False
        if count != self._count:
            self._count, self._heard_ns = count, now_ns
        is_silent = now_ns - self._heard_ns > self._hang_s / 2 * 1e9
        return stuck_s > self._hang_s * (1 if is_silent else BUSY_PATIENCE)


def redial_pauses(hang_s: float) -> Backoff:
    """One to two times `hang_s`, doubled from dial to dial."""
    return Backoff(2 * hang_s, max(REDIAL_CEILING_S, 2 * hang_s))


class Redials:
    """When to hang up and dial again while the way to the hub hangs. A dial costs the hub more than a site that waits,
    so a hub that is slow for all its sites must not be dialled by all of them every few seconds: the first comes at
    once, each further one after a pause that doubles and is drawn at random. Pure."""

    def __init__(self, pauses: Backoff) -> None:
        self._pauses = pauses
        self._next_ns = 0
        self._pause_ns = 0
        self._good_ns: int | None = None

    def hung(self, now_ns: int) -> Literal["wait", "dial", "restart"]:
        """What to do now. `restart`: dialling has not helped that often, the server may be at fault."""
        self._good_ns = None
        if now_ns < self._next_ns:
            return "wait"
        acts = self._pauses.attempts_count + 1
        self._pause_ns = int(self._pauses.next_s() * 1e9)
        self._next_ns = now_ns + self._pause_ns
        return "dial" if acts % (REDIALS_BEFORE_RESTART + 1) else "restart"

    def good(self, now_ns: int) -> None:
        """Data flows. Only when it has done so for as long as the last pause is that trouble over: a link that comes
        and goes is not to be dialled ever faster."""
        if self._good_ns is None:
            self._good_ns = now_ns
        if now_ns - self._good_ns >= self._pause_ns and self._pauses.attempts_count:
            self._pauses.reset()
            self._next_ns = self._pause_ns = 0


class Refusals:
    """What the server's log says about refused log-ins and publishes. `limit` is the hub's that turned it away, and
    `tls_problem` why the hub is not believed."""

    def __init__(self) -> None:
        self.is_leaf_refused = False
        self.limit: str | None = None
        self.tls_problem: str | None = None
        self._tls_ns = 0
        self.mqtt_subject: str | None = None
        self._leaf_ns = 0

    def feed(self, lines: Sequence[str], now_ns: int) -> None:
        """Take new log lines."""
        for line in lines:
            limit = _LEAF_LIMIT.search(line)
            if limit is not None or _LEAF_REFUSED.search(line):
                self._leaf_ns = now_ns
                self.is_leaf_refused = True
                self.limit = limit[1].lower() if limit is not None else None
            if (failed := _TLS_FAILED.search(line)) is not None:
                self._note_tls(failed[1], now_ns)
            match = _MQTT_REFUSED.search(line)
            if match is not None:
                self.mqtt_subject = match[1]
        if now_ns - self._tls_ns > REFUSED_FOR_S * 1e9:
            self.tls_problem = None
        if now_ns - self._leaf_ns > REFUSED_FOR_S * 1e9:
            self.is_leaf_refused = False

    def leaf_text(self, remote: LeafRemote | None) -> str:
        """Why the hub lets this edge not in, for the alarm."""
        if self.limit is not None:
            return f"the hub lets no more in: {self.limit}; who runs it raises it with `millstream tenant limits`"
        if remote is not None and remote.creds_file is not None:
            return f"the hub refuses {remote.creds_file}: the site is locked out, or has joined elsewhere"
        user = remote.user if remote is not None else ""
        return f"the hub refuses user {user!r}: compare name and secret with its `edges`"

    def _note_tls(self, text: str | None, now_ns: int) -> None:
        """The reason comes in a line of its own before that of the closed link; where there is none, the hub speaks in
        clear."""
        self._tls_ns = now_ns
        if text is not None:
            known = (cause for mark, cause in _TLS_CAUSES if mark in text.lower())
            self.tls_problem = next(known, text.partition(" (CN=")[0])
        elif self.tls_problem is None:
            self.tls_problem = "who answers there offers no TLS"
