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


@dataclass(frozen=True, slots=True)
class Detections:
    """Rows at which an alarm was raised; the newest score at each row (NaN before the first); inputs it rejected."""

    rows: tuple[int, ...]
    scores: tuple[float, ...]
    rejected: int


def detect(flow: Flow[Any], series: Labelled, values: Sequence[float], tag: TagPath, score: str = "") -> Detections:
    """Let a flow hear the values as those of `tag`, at their times. `score` is the name of the number that it gives for
    a row (the last level of its path); without it only alarms count. Raises ConfigError when the flow does not listen.
    """
    subject = tag_subject(tag, contract_of("tag"))
    address = decode_subject(subject)
    if not any(each.kind == "tag" and Pattern.parse(each.pattern).matches(address) for each in flow.inputs):
        raise ConfigError(
            "the flow does not listen to the tag", where=flow.name, got=str(tag),
            expected=", ".join(each.pattern for each in flow.inputs if each.kind == "tag") or "an input of kind tag",
            next_step="name a tag that it hears with --tag",
        )  # fmt: skip
    arrivals: list[Received | int] = [
        Received(
            subject, encode_sample(value, quality=GOOD, source_time_ns=at_ns, ingest_time_ns=at_ns), None, seq, at_ns
        )
        for seq, (at_ns, value) in enumerate(zip(series.times_ns, values, strict=True), 1)
    ]
    outcome = drive(flow, with_ticks(flow, arrivals))
    rows: set[int] = set()
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
                rows.add(row)
            elif score and place.names[-1] == score and isinstance(fact.value, int | float):
                scores[row] = float(fact.value)
    for row in range(1, len(scores)):  # it holds until the next one
        if math.isnan(scores[row]):
            scores[row] = scores[row - 1]
    return Detections(tuple(sorted(rows)), tuple(scores), len(outcome.rejected))
