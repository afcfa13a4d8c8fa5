"""What a server's health page says of streams."""

from __future__ import annotations

import os
from pathlib import Path

from millstream.bus._store_repair import MADE_NS_MAX, problem_of

LOST = {"status": "unavailable", "error": "JetStream stream 'ACME > H_DLQ' could not be recovered"}
OTHER = {"status": "unavailable", "error": "JetStream has not established contact with a meta leader"}


def test_a_stream_that_is_being_made_or_was_just_deleted_is_no_trouble(tmp_path: Path) -> None:
    """A hub that makes hundreds, on a machine that is full, would have its server restarted in the midst of it."""
    folder = tmp_path / "jetstream" / "jetstream" / "ACME" / "streams" / "H_DLQ"
    assert problem_of(LOST, tmp_path, 0) is None
    folder.mkdir(parents=True)
    made_ns = 10**18
    os.utime(folder, ns=(made_ns, made_ns))
    assert problem_of(LOST, tmp_path, made_ns + MADE_NS_MAX - 1) is None
    assert problem_of(LOST, tmp_path, made_ns + MADE_NS_MAX) == LOST["error"]
    assert problem_of(OTHER, tmp_path, made_ns) == OTHER["error"]
    assert problem_of({"status": "unavailable"}, tmp_path, made_ns) == "unavailable"
    assert problem_of({"status": "ok"}, tmp_path, made_ns) is None
