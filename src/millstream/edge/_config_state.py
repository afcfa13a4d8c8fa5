"""The steps of a configuration from afar, and where each of them leads. Pure: no file, no clock, no network.

    settled ──received──► stored ──drained──► applying ──started──► watching ──healthy──► settled
                            │                     │                    │
                          failed                failed         failed, timed out
                            ▼                     ▼                    ▼
                         settled             rolling_back ────────returned───────────────► settled

The state is written and synced before the step that it stands for begins, so that a node that is killed in the middle
finds at its next start which configuration it has to run (`to_run`) and goes on from there. `watching` alone is written
with what follows: a start does the same in it as in `applying`. `TABLE` has each phase with
each of its events; what is not in it does not happen (`AssertionError`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import msgspec

from millstream.protocols.site_config import Revision

Phase: TypeAlias = Literal["settled", "stored", "applying", "watching", "rolling_back"]
PHASES: tuple[Phase, ...] = ("settled", "stored", "applying", "watching", "rolling_back")
BOOTS_MAX = 3  # starts of the node that one trial may take; a configuration that kills it goes back after that
REPORTS_MAX = 100  # that wait for the stream; the oldest go first


class Held(msgspec.Struct, frozen=True, omit_defaults=True):
    """A configuration: the revision of a document, or 0 for the edge's own file."""

    revision: int = 0
    digest: str = ""
    author: str = ""
    comment: str = ""
    time_ns: int = 0
    healthy_within_ms: int = 0
    signed_by: str = ""

    @classmethod
    def of(cls, revision: Revision) -> Held:
        """What is remembered of a revision."""
        return cls(
            revision.revision, revision.digest, revision.author, revision.comment, revision.time_ns,
            revision.healthy_within_ms, revision.signature.key if revision.signature is not None else "",
        )  # fmt: skip


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why the newest revision that came does not run. `is_rolled_back`: it ran for a while."""

    revision: int
    code: str
    reason: str
    time_ns: int
    is_rolled_back: bool = False


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something to tell the hub: an event of the integrity stream. `number` counts from 1 at this edge, `runs` is the
    revision that ran then."""

    number: int
    what: str
    revision: int
    time_ns: int
    digest: str = ""
    author: str = ""
    code: str | None = None
    reason: str | None = None
    runs: int | None = None


class SiteState(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that an edge knows of its configuration. `seen` is the newest revision that it ever took up, `healthy` what
    it goes back to, `candidate` what it tries, `must_be_up` what was up before, `boots` the node's starts in this
    trial."""

    phase: Phase = "settled"
    seen: int = 0
    seen_digest: str = ""
    healthy: Held = Held()
    candidate: Held | None = None
    since_ns: int = 0
    boots: int = 0
    must_be_up: tuple[str, ...] = ()
    failure: Failure | None = None
    file_digest: str = ""
    refused_payload: str = ""
    reports: tuple[Report, ...] = ()
    reports_count: int = 0

    @property
    def to_run(self) -> Held:
        """What the node has to run when it starts in this state."""
        if self.phase in ("applying", "watching"):
            assert self.candidate is not None
            return self.candidate
        return self.healthy


# -- events -----------------------------------------------------------------------------------------------------------


class Received(msgspec.Struct, frozen=True):
    """A newer revision is checked and lies on this node's disk."""

    held: Held


class Booted(msgspec.Struct, frozen=True):
    """The node starts."""


class Drained(msgspec.Struct, frozen=True):
    """What is about to change has stopped at a boundary of its batches, and all of it is stored."""

    must_be_up: tuple[str, ...] = ()


class Started(msgspec.Struct, frozen=True):
    """The candidate runs."""


class Healthy(msgspec.Struct, frozen=True):
    """It has been healthy for long enough. `file_digest` is that of the edge's own sections at this time."""

    file_digest: str = ""


class Failed(msgspec.Struct, frozen=True):
    """It cannot be applied, or it did not become healthy in its time."""

    code: str
    reason: str


class Returned(msgspec.Struct, frozen=True):
    """The last healthy configuration runs again."""


Event: TypeAlias = Received | Booted | Drained | Started | Healthy | Failed | Returned
EVENTS: tuple[type[Event], ...] = (Received, Booted, Drained, Started, Healthy, Failed, Returned)
Step: TypeAlias = "Callable[[SiteState, Event, int], SiteState]"


def advance(state: SiteState, event: Event, now_ns: int) -> SiteState:
    """The state after an event. `now_ns` is UTC, for what is told."""
    step = TABLE.get((state.phase, type(event)))
    if step is None:
        raise AssertionError(f"{type(event).__name__} cannot come while {state.phase}")
    return step(state, event, now_ns)


def refuse(
    state: SiteState, failure: Failure, payload_digest: str, *, seen: Held | None = None
) -> SiteState:  # fmt: skip
    """A revision that is not even tried. The same payload is told once; with `seen` its number counts as used."""
    state = msgspec.structs.replace(state, refused_payload=payload_digest, failure=failure)
    if seen is not None:
        state = msgspec.structs.replace(state, seen=max(state.seen, seen.revision), seen_digest=seen.digest)
    report = Report(
        state.reports_count + 1, "refused", failure.revision, failure.time_ns, code=failure.code, reason=failure.reason
    )
    return _with_report(state, report)


def told(state: SiteState, number: int) -> SiteState:
    """The reports up to `number` are stored."""
    return msgspec.structs.replace(state, reports=tuple(r for r in state.reports if r.number > number))


# -- steps ------------------------------------------------------------------------------------------------------------


def _report(state: SiteState, what: str, held: Held, now_ns: int, failed: Failed | None = None) -> SiteState:
    report = Report(
        state.reports_count + 1, what, held.revision, now_ns, held.digest, held.author,
        failed.code if failed else None, failed.reason if failed else None,
    )  # fmt: skip
    return _with_report(state, report)


def _with_report(state: SiteState, report: Report) -> SiteState:
    report = msgspec.structs.replace(report, runs=state.to_run.revision)
    return msgspec.structs.replace(state, reports=(*state.reports, report)[-REPORTS_MAX:], reports_count=report.number)


def _candidate(state: SiteState) -> Held:
    assert state.candidate is not None
    return state.candidate


def _receive(state: SiteState, event: Event, now_ns: int) -> SiteState:
    assert isinstance(event, Received)
    state = msgspec.structs.replace(
        state, phase="stored", seen=event.held.revision, seen_digest=event.held.digest, candidate=event.held, boots=0,
        must_be_up=(), failure=None, refused_payload="",
    )  # fmt: skip
    return _report(state, "received", event.held, now_ns)


def _stay(state: SiteState, event: Event, now_ns: int) -> SiteState:
    return state


def _boot_in_trial(state: SiteState, event: Event, now_ns: int) -> SiteState:
    """The same configuration once more, and the whole time anew; but not for ever."""
    boots = state.boots + 1
    if boots < BOOTS_MAX:
        return msgspec.structs.replace(state, phase="applying", boots=boots)
    reason = f"the node ended {boots} times before it was healthy"
    return _fall_back(state, Failed("MS-2410", reason), now_ns)


def _drain(state: SiteState, event: Event, now_ns: int) -> SiteState:
    assert isinstance(event, Drained)
    return msgspec.structs.replace(state, phase="applying", must_be_up=event.must_be_up)


def _start(state: SiteState, event: Event, now_ns: int) -> SiteState:
    return _report(msgspec.structs.replace(state, phase="watching"), "applied", _candidate(state), now_ns)


def _settle(state: SiteState, event: Event, now_ns: int) -> SiteState:
    assert isinstance(event, Healthy)
    held = _candidate(state)
    state = msgspec.structs.replace(
        state, phase="settled", healthy=held, candidate=None, since_ns=now_ns, boots=0, must_be_up=(),
        file_digest=event.file_digest,
    )  # fmt: skip
    return _report(state, "healthy", held, now_ns)


def _give_up(state: SiteState, event: Event, now_ns: int) -> SiteState:
    """Nothing has been touched yet."""
    assert isinstance(event, Failed)
    held = _candidate(state)
    failure = Failure(held.revision, event.code, event.reason, now_ns)
    state = msgspec.structs.replace(state, phase="settled", candidate=None, failure=failure)
    return _report(state, "refused", held, now_ns, event)


def _fall_back(state: SiteState, event: Event, now_ns: int) -> SiteState:
    assert isinstance(event, Failed)
    failure = Failure(_candidate(state).revision, event.code, event.reason, now_ns, is_rolled_back=True)
    return msgspec.structs.replace(state, phase="rolling_back", failure=failure)


def _return(state: SiteState, event: Event, now_ns: int) -> SiteState:
    held, failure = _candidate(state), state.failure
    assert failure is not None
    state = msgspec.structs.replace(state, phase="settled", candidate=None, boots=0, must_be_up=())
    return _report(state, "rolled_back", held, now_ns, Failed(failure.code, failure.reason))


TABLE: Mapping[tuple[Phase, type[Event]], Step] = {
    ("settled", Booted): _stay,
    ("settled", Received): _receive,
    ("stored", Booted): _stay,
    ("stored", Received): _receive,  # a newer one takes the place of one that was not begun
    ("stored", Drained): _drain,
    ("stored", Failed): _give_up,
    ("applying", Booted): _boot_in_trial,
    ("applying", Started): _start,
    ("applying", Failed): _fall_back,
    ("watching", Booted): _boot_in_trial,
    ("watching", Healthy): _settle,
    ("watching", Failed): _fall_back,
    ("rolling_back", Booted): _stay,
    ("rolling_back", Failed): _stay,  # the last healthy one cannot start either: that is what is tried again
    ("rolling_back", Returned): _return,
}
