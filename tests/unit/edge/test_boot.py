"""The boot check's decisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.bus import StreamBounds, StreamInfo, integrity_stream, retired_stream
from millstream.edge._boot import BootDecision, ForwardNote, StreamNote, decide, load_note, newest_generation, save_note

_CONFIG = integrity_stream("E_e1_I", StreamBounds(1000))
_CREATE, _CONTINUE, _NEW = BootDecision.CREATE, BootDecision.CONTINUE, BootDecision.NEW_GENERATION


def _found(last_seq: int, *, created: str = "t1", is_retired: bool = False) -> StreamInfo:
    config = retired_stream(_CONFIG) if is_retired else _CONFIG
    return StreamInfo("E_e1_I", created, last_seq, 100, 1, last_seq, config, {})


@pytest.mark.parametrize(
    ("found", "known", "hub", "note", "is_sure", "decision", "generation"),
    [
        (None, 0, None, None, True, _CREATE, 1),  # a new edge
        (None, 0, 0, None, True, _CREATE, 1),
        (None, 1, 500, None, True, _CREATE, 2),  # a replaced disk
        (_found(500), 1, 500, None, True, _CONTINUE, 1),  # the hub has all
        (_found(500), 1, 400, None, True, _CONTINUE, 1),
        (_found(500), 1, 501, None, True, _NEW, 2),  # set back behind the hub
        (_found(500), 1, 501, StreamNote("t1", 500), True, _NEW, 2),  # note and store restored together
        (_found(500), 3, 501, None, True, _NEW, 4),
        (_found(500), 1, None, StreamNote("t1", 500), True, _CONTINUE, 1),  # no hub, the note fits
        (_found(500), 1, None, StreamNote("t1", 480), True, _CONTINUE, 1),  # killed: more than was noted
        (_found(500), 1, None, StreamNote("t1", 501), True, _NEW, 2),  # set back behind the note
        (_found(500), 1, None, StreamNote("t1", 400, 501), True, _NEW, 2),  # behind the cursor that was seen
        (_found(500), 1, None, None, True, _NEW, 2),  # no note: in doubt
        (_found(500), 1, None, StreamNote("t0", 500), True, _NEW, 2),  # the note is of another stream
        (_found(500), 1, None, StreamNote("t1", 500), False, _NEW, 2),  # lazily synced and not stopped cleanly
        (_found(500), 1, 400, StreamNote("t1", 501), True, _CONTINUE, 1),  # lost before it was forwarded
        (_found(500, is_retired=True), 1, 500, StreamNote("t1", 500), True, _NEW, 2),  # killed while beginning anew
    ],
)
def test_the_decision(
    found: StreamInfo | None, known: int, hub: int | None, note: StreamNote | None, is_sure: bool,
    decision: BootDecision, generation: int,
) -> None:  # fmt: skip
    finding = decide(found, known_generation=known, hub_cursor=hub, note=note, is_sure=is_sure)
    assert (finding.decision, finding.generation) == (decision, generation)
    assert finding.reason


def test_the_newest_generation_is_found_among_others() -> None:
    names = ["E_e1_I", "E_e1_I_g3", "E_e1_T_g7", "E_e2_I_g9", "H_INTEGRITY", "E_e1_I_g2"]
    assert newest_generation(names, "e1", "I") == 3
    assert newest_generation([], "e1", "I") == 0


def test_a_note_is_read_back_and_a_broken_one_counts_as_none(tmp_path: Path) -> None:
    assert load_note(tmp_path) == ForwardNote()
    note = ForwardNote({"E_e1_I": StreamNote("t1", 5, 4)}, True)
    save_note(tmp_path, note)
    assert load_note(tmp_path) == note
    (tmp_path / "forward.json").write_bytes(b"{")
    assert load_note(tmp_path) == ForwardNote()
