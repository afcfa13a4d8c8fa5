"""What a subject means to a flow: its key, and whether this partition has it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from millstream.flow._model import Event, Flow
from millstream.flow._muting import partition_of
from millstream.flow._store import PIECE_MARK
from millstream.kernel import DecodeError, PlantError
from millstream.protocols.uns_pattern import Pattern
from millstream.protocols.uns_subject import decode_subject

SUBJECTS_MAX = 100_000  # remembered; then it begins anew


class StepFailedError(PlantError):
    """A step raised, or gave what it may not give."""

    default_code = "MS-0702"


class ProcessFullError(PlantError):
    """What the user's code keeps has filled the memory of this process: the next one takes the same input again."""

    default_code = "MS-0705"


@dataclass(frozen=True, slots=True)
class Source:
    """One subject that the flow reads. `text` is its path."""

    key: str
    kind: str
    text: str
    is_mine: bool


class SourceTable:
    """Looks subjects up once."""

    def __init__(self, flow: Flow[Any], partition: int, partitions: int) -> None:
        self._flow = flow
        self._partition = partition
        self._partitions = partitions
        self._wanted = [(Pattern.parse(i.pattern), i.kind) for i in flow.inputs]
        self._known: dict[str, Source | None] = {}

    def find(self, subject: str) -> Source | None:
        """None for what is no input. Raises StepFailedError when the user's `key` fails."""
        try:
            return self._known[subject]
        except KeyError:
            if len(self._known) >= SUBJECTS_MAX:
                self._known.clear()
            source = self._known[subject] = self._look_up(subject)
            return source

    def regrouped(self, source: Source, event: Event) -> str | None:
        """The key by value; None when another partition has it. Raises StepFailedError."""
        assert self._flow.regroup is not None
        try:
            key = str(self._flow.regroup(event)).replace(PIECE_MARK, "")
        except Exception as error:  # the user's code; what it cannot take is kept and told
            if not source.is_mine:
                return None  # one partition tells it
            raise StepFailedError(f"regroup raised {type(error).__name__}: {error}", where=self._flow.name) from error
        return key if partition_of(key, self._partitions) == self._partition else None

    def _look_up(self, subject: str) -> Source | None:
        try:
            address = decode_subject(subject)
        except DecodeError:
            return None
        kind = address.contract[1:]
        if not any(kind == wanted and pattern.matches(address) for pattern, wanted in self._wanted):
            return None
        try:
            key = str(self._flow.key(address))
        except Exception as error:  # the user's code; what it cannot take is kept and told
            raise StepFailedError(f"key raised {type(error).__name__}: {error}", where=self._flow.name) from error
        return Source(key, kind, str(address.tag), partition_of(key, self._partitions) == self._partition)
