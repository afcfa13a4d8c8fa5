"""Which version is started next, whatever was killed, removed or installed by hand in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.kernel import ConfigError
from millstream.release import (
    DATA_FORMAT,
    ENDED_KEPT,
    STARTS_MAX,
    Choice,
    ChoiceFile,
    Held,
    Trial,
    begin,
    check_data,
    confirm,
    data_dir_of,
    fail,
    note_data,
    nothing_chosen,
    to_start,
)
from millstream.release._format import FILE, DataNote

NEW, OLD = Held("a" * 64, "2.0"), Held("b" * 64, "1.5")
THERE = frozenset((NEW.folder, OLD.folder))
FIRST = nothing_chosen("1.0", "cpython-311")


def trial_of(held: Held, command: str = "c1") -> Trial:
    return Trial(held, command, 1000)


def start(choice: Choice, installed: str = "1.0", python: str = "cpython-311", there: frozenset[str] = THERE) -> Choice:
    """The choice as it is kept before the next start."""
    return to_start(choice, installed, python, there, 7).choice


def test_a_trial_is_started_so_often_and_then_the_version_before() -> None:
    choice = begin(FIRST, trial_of(NEW))
    for number in range(1, STARTS_MAX + 1):
        found = to_start(choice, "1.0", "cpython-311", THERE, 7)
        assert found.held == NEW
        assert found.choice.trial is not None
        assert found.choice.trial.starts == number
        choice = found.choice
    found = to_start(choice, "1.0", "cpython-311", THERE, 7)
    assert (found.held, found.choice.trial, found.choice.runs) == (FIRST.runs, None, FIRST.runs)
    ended = found.choice.ended_of("c1")
    assert ended is not None
    assert (ended.state, ended.time_ns, ended.before) == ("failed", 7, FIRST.runs)


def test_a_confirmed_version_is_started_from_then_on_and_is_the_way_back_of_the_next() -> None:
    choice = confirm(start(begin(FIRST, trial_of(OLD))), 7)
    assert to_start(choice, "1.0", "cpython-311", THERE, 7).held == OLD
    choice = begin(choice, trial_of(NEW, "c2"))
    assert to_start(fail(start(choice), "ill", 8), "1.0", "cpython-311", THERE, 9).held == OLD
    choice = confirm(start(choice), 9)
    assert (choice.runs, choice.before) == (NEW, OLD)


def test_what_was_installed_by_hand_counts() -> None:
    running = confirm(start(begin(FIRST, trial_of(OLD))), 7)
    for choice in (running, begin(running, trial_of(NEW, "c2"))):
        for installed, python, there in (("1.1", "cpython-311", THERE), ("1.0", "cpython-312", THERE)):
            found = to_start(choice, installed, python, there, 9)
            assert found.held == Held("", installed)
            assert found.choice.trial is None
            assert found.note
    found = to_start(begin(running, trial_of(NEW, "c2")), "1.1", "cpython-311", THERE, 9)
    ended = found.choice.ended_of("c2")
    assert ended is not None
    assert ended.state == "failed"


def test_a_version_whose_folder_is_gone_is_not_started() -> None:
    running = confirm(start(begin(FIRST, trial_of(OLD))), 7)
    assert to_start(running, "1.0", "cpython-311", frozenset(), 9).held == Held("", "1.0")
    found = to_start(begin(running, trial_of(NEW, "c2")), "1.0", "cpython-311", frozenset((OLD.folder,)), 9)
    assert (found.held, found.choice.trial) == (OLD, None)


def test_the_file_keeps_it_and_no_more_endings_than_it_may(tmp_path: Path) -> None:
    file, choice = ChoiceFile(tmp_path), FIRST
    assert file.read() is None
    for number in range(2 * ENDED_KEPT):
        choice = fail(begin(choice, trial_of(NEW, f"c{number}")), "ill", number)
    file.write(choice)
    assert file.read() == choice
    assert [one.command for one in choice.ended] == [f"c{n}" for n in range(ENDED_KEPT, 2 * ENDED_KEPT)]
    (file.folder / NEW.folder).mkdir()
    (file.folder / f"{OLD.folder}.new").mkdir()
    assert file.present() == {NEW.folder}


@pytest.mark.parametrize(("text", "found"), [
    ("edge: {name: e, data_dir: data}", "data"), ("edge:\n  labels: {data_dir: no}\n  data_dir: /var/x\n", "/var/x"),
    ("hub: {data_dir: no}\nedge:\n  path: a\n  data_dir: yes it is\nfuture: [1, {data_dir: no}]", "yes it is"),
    ("- edge: {data_dir: no}", None), ("edge: {more: {data_dir: no}}", None), ("edge: {data_dir: [no]}", None),
    ("{{", None), ("edge: {data_dir: d}\nbroken: {{", "d"), ("x: &a [1]\ny: *a\nedge: {data_dir: d}", "d"),
])  # fmt: skip
def test_the_data_directory_is_found_in_a_file_of_any_version(tmp_path: Path, text: str, found: str | None) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text(text, encoding="utf-8")
    assert data_dir_of(file) == (None if found is None else tmp_path / found)


def test_no_version_runs_over_data_that_it_cannot_read(tmp_path: Path) -> None:
    check_data(tmp_path)
    note_data(tmp_path, "1.0")
    check_data(tmp_path)
    newer = DataNote(DATA_FORMAT + 2, DATA_FORMAT + 1, "3.0")
    import msgspec

    (tmp_path / FILE).write_bytes(msgspec.json.encode(newer))
    with pytest.raises(ConfigError, match="written by a newer version") as error:
        check_data(tmp_path)
    assert error.value.code == "MS-2457"
    (tmp_path / FILE).write_bytes(msgspec.json.encode(msgspec.structs.replace(newer, readable_by=DATA_FORMAT)))
    check_data(tmp_path)
