"""What a flow says of a recorded series, row by row: its alarms, and the score it gives. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from millstream.flow._codec import decode_facts
from millstream.flow._drive import drive, with_ticks
from millstream.flow._model import Flow
from millstream.kernel import ConfigError
from millstream.model import GOOD, TagPath
from millstream.protocols.nats_wire import VERSION_LINE, encode_header_lines
from millstream.protocols.uns_pattern import Pattern, contract_of
from millstream.protocols.uns_payload import encode_sample
from millstream.protocols.uns_subject import decode_subject, tag_subject
from millstream.sdk import Received
from millstream.shop import Labelled

RAISED = "millstream.alarm.raised"
SAMPLES = ("tag", "kpi", "count", "state")


@dataclass(frozen=True, slots=True)
class Detections:
    """Rows at which an alarm was raised; the newest score at each row (NaN before the first); inputs it rejected; the
    names of all alarms that it raised, and of all numbers that it gave."""

    rows: tuple[int, ...]
    scores: tuple[float, ...]
    rejected: int
    alarm_names: frozenset[str] = frozenset()
    number_names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Recording:
    """A series with the value of each row, and what was told beside them: tags at the same place by row, as (row, name
    of the tag, value). The flow hears them before the value of the row."""

    series: Labelled
    values: Sequence[float]
    beside: Sequence[tuple[int, str, Any]] = ()


def detect(flow: Flow[Any], recording: Recording, tag: TagPath, score: str = "", alarm: str = "") -> Detections:
    """Let a flow hear the values as those of `tag`, at their times. `score` is the name of the number that it gives for
    a row (the last level of its path); without it only alarms count, with `alarm` those of this name. Raises
    ConfigError when the flow does not listen.
    """
    series = recording.series
    if _heard_as(flow, tag) is None:
        kinds = [each for each in flow.inputs if each.kind in SAMPLES]
        raise ConfigError(
            "the flow does not listen to the tag", where=flow.name, got=str(tag),
            expected=", ".join(each.pattern for each in kinds) or "an input of kind tag",
            next_step="name a tag that it hears with --tag",
        )  # fmt: skip
    outcome = drive(flow, with_ticks(flow, _arrivals(flow, recording, tag)))
    rows: set[int] = set()
    alarm_names, number_names = set[str](), set[str]()
    scores = [math.nan] * len(series.times_ns)
    for message in outcome.messages:
        place = decode_subject(message.subject)
        kind = place.contract[1:]
        block = VERSION_LINE + b"\r\n" + encode_header_lines(message.headers) + b"\r\n"
        for fact in decode_facts(kind, Received(message.subject, message.payload, block, 0, 0)):
            row = series.row_of(fact.time_ns)
            if row < 0:
                continue
            if kind == "alarm" and fact.type == RAISED:
                alarm_names.add(place.names[-1])
                if alarm in ("", place.names[-1]):
                    rows.add(row)
            elif isinstance(fact.value, int | float):
                number_names.add(place.names[-1])
                if place.names[-1] == score:
                    scores[row] = float(fact.value)
    for row in range(1, len(scores)):  # it holds until the next one
        if math.isnan(scores[row]):
            scores[row] = scores[row - 1]
    return Detections(
        tuple(sorted(rows)), tuple(scores), len(outcome.rejected), frozenset(alarm_names), frozenset(number_names)
    )


@dataclass(frozen=True, slots=True)
class Foretold:
    """What a flow says at a row of how much remains: best guess and interval, in seconds (`is_time`) or in values."""

    row: int
    mid: float
    low: float
    high: float
    is_time: bool


def foretell(flow: Flow[Any], recording: Recording, tag: TagPath) -> list[Foretold]:
    """What a flow that gives `remaining`, `low` and `high` says at each row, as `detect` lets it hear them."""
    series = recording.series
    found: dict[int, dict[str, float]] = {}
    times: set[int] = set()
    for message in drive(flow, with_ticks(flow, _arrivals(flow, recording, tag))).messages:
        place = decode_subject(message.subject)
        if place.names[-1] not in ("remaining", "low", "high"):
            continue
        block = VERSION_LINE + b"\r\n" + encode_header_lines(message.headers) + b"\r\n"
        for fact in decode_facts(place.contract[1:], Received(message.subject, message.payload, block, 0, 0)):
            row = series.row_of(fact.time_ns)
            if row >= 0 and isinstance(fact.value, int | float):
                found.setdefault(row, {})[place.names[-1]] = float(fact.value)
                if fact.unit == "s":
                    times.add(row)
    return [
        Foretold(row, said["remaining"], said["low"], said["high"], row in times)
        for row, said in sorted(found.items())
        if len(said) == 3
    ]


def _heard_as(flow: Flow[Any], tag: TagPath) -> str | None:
    """The subject under which a flow hears the samples of a tag: the first kind that it listens to."""
    for kind in SAMPLES:
        subject = tag_subject(tag, contract_of(kind))
        address = decode_subject(subject)
        if any(each.kind == kind and Pattern.parse(each.pattern).matches(address) for each in flow.inputs):
            return subject
    return None


def _arrivals(flow: Flow[Any], recording: Recording, tag: TagPath) -> list[Received | int]:
    """All messages in order."""
    own = _heard_as(flow, tag)
    others = {name: _heard_as(flow, TagPath.parse(f"{tag.asset}:{name}")) for _, name, _ in recording.beside}
    told: dict[int, list[tuple[str | None, Any]]] = {}
    for row, name, value in recording.beside:
        told.setdefault(row, []).append((others[name], value))
    arrivals: list[Received | int] = []
    for row, (at_ns, value) in enumerate(zip(recording.series.times_ns, recording.values, strict=True)):
        for subject, said in (*told.get(row, ()), (own, value)):
            if subject is not None:
                payload = encode_sample(said, quality=GOOD, source_time_ns=at_ns, ingest_time_ns=at_ns)
                arrivals.append(Received(subject, payload, None, len(arrivals) + 1, at_ns))
    return arrivals
