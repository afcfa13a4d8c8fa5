"""Files of any bytes, written in any pieces: nothing but good samples and dead letters, and always the same ones."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.connectors.files import FilesConfig
from millstream.connectors.files._packed import Opener
from millstream.connectors.files._table import Entry, Table
from millstream.connectors.files._text import Source, read_text
from millstream.model import Sample
from millstream.protocols.row_mapping import Column, RowMap

COLUMNS = (Column("v", "v"), Column("n", "w", "int"))
NASTY = st.sampled_from(
    [b"v,w\n", b"1,2\n", b'"', b",", b"\n", b"\r\n", b"\0", b"\xff", b'{"v":1}\n', b"{", b"\xef\xbb\xbf"]
)
BYTES = st.lists(NASTY | st.binary(max_size=12), max_size=30).map(b"".join)


OPENER = Opener(1 << 20)


def read_all(config: FilesConfig, row_map: RowMap, table: Table) -> tuple[list[Sample], list[tuple[bytes, str]]]:
    """What is new, as a session reads it."""
    samples: list[Sample] = []
    bad: list[tuple[bytes, str]] = []
    for seen in table.update():
        entry: Entry = table.entry(seen)
        while parts := read_text(row_map, Source(config, OPENER), seen, entry):
            for part in parts:
                assert part.entry.offset > entry.offset
                entry = part.entry
                table.put(entry)
                samples += part.samples
                bad += part.frames_bad
    return samples, bad


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@settings(max_examples=150)
@given(content=BYTES, cuts=st.lists(st.integers(0, 400), max_size=5), skip_lines=st.integers(0, 2))
def test_pieces_and_restarts_change_nothing(kind: Any, content: bytes, cuts: list[int], skip_lines: int) -> None:
    row_map = RowMap(COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        config = FilesConfig.model_validate({"folder": folder, "format": kind, "skip_lines": skip_lines})
        path = Path(folder) / "a"
        path.write_bytes(content + b"\n")
        whole = read_all(config, row_map, Table(config, OPENER))
        path.unlink()
        table = Table(config, OPENER)
        samples: list[Sample] = []
        bad: list[tuple[bytes, str]] = []
        ends = sorted(min(cut, len(content)) for cut in cuts)
        with path.open("ab") as stream:
            for start, end in zip([0, *ends], [*ends, None], strict=True):
                stream.write(content[start:end] + (b"\n" if end is None else b""))
                stream.flush()
                table = Table.decode(config, OPENER, table.encode())  # as after a restart
                found = read_all(config, row_map, table)
                samples += found[0]
                bad += found[1]
    assert repr((samples, bad)) == repr(whole)
    lines = (content + b"\n").count(b"\n")
    assert len({reason.split(":")[0] for _, reason in bad}) <= lines
