"""What `top` shows, and its keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from textual.widgets import DataTable, Input

from millstream.cli import _top_command
from millstream.cli._top_app import TopApp
from millstream.cli._top_rows import Rates, arranged, connector_rows, headline, stream_rows
from millstream.kernel import PlantError, SystemClock, Unreachable

S = 1_000_000_000


def status(press: int = 100, lathe: int = 10) -> dict[str, Any]:
    return {
        "role": "edge", "name": "e1", "started_ns": 1,
        "connectors": [
            {"name": "press", "state": "connected", "samples_received": press, "last_sample_ns": 9 * S, "error": None},
            {"name": "lathe", "state": "waiting", "samples_received": lathe, "samples_bad": 2,
             "frames_quarantined": 1, "error": "no \x1b[31manswer"},
        ],
        "streams": [{"name": "E_e1_I", "messages": 1234, "bytes": 4096, "last_seq": 1300}],
        "uplink": {"state": "cut", "behind_messages": 7, "data_age_ms": 90_000},
        "alarms": [{"code": "MS-0618", "message": "cut"}],
    }  # fmt: skip


def test_rates_are_known_from_the_second_look_on_and_begin_anew_after_a_restart() -> None:
    rates = Rates()
    assert connector_rows([status(100)], rates, 10 * S)[0].rate_hz is None
    assert connector_rows([status(300)], rates, 12 * S)[0].rate_hz == 100.0
    assert connector_rows([status(5)], rates, 13 * S)[0].rate_hz is None


def test_a_row_shows_age_and_errors_and_no_control_characters() -> None:
    press, lathe = connector_rows([status()], Rates(), 10 * S)
    assert (press.age_s, press.bad) == (1.0, 0)
    assert (lathe.age_s, lathe.bad) == (None, 3)
    assert "\x1b" not in "".join(lathe.cells())


def test_rows_are_filtered_and_sorted() -> None:
    rows = connector_rows([status()], Rates(), 10 * S)
    assert [r.connector for r in arranged(rows, "connector", "")] == ["lathe", "press"]
    assert [r.connector for r in arranged(rows, "state", "")] == ["press", "lathe"]
    assert [r.connector for r in arranged(rows, "bad", "")] == ["lathe", "press"]
    assert [r.connector for r in arranged(rows, "connector", "PRESS")] == ["press"]


def test_streams_uplink_and_alarms_are_shown() -> None:
    assert stream_rows([status()]) == [("e1", "E_e1_I", "1,234", "4 KiB", "1300")]
    text = headline([status()])
    assert "uplink cut, 7 messages behind" in text
    assert "MS-0618" in text
    assert headline([]) == "no node answers"


def test_a_missing_extra_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_top_command, "find_spec", lambda _name: None)
    with pytest.raises(PlantError, match=r"pip install millstream\[top\]"):
        _top_command.require_textual()


async def test_keys_sort_filter_and_quit_and_an_outage_keeps_the_rows() -> None:
    is_away = False

    async def ask() -> Sequence[Mapping[str, Any]]:
        if is_away:
            raise Unreachable("nobody answers")
        return [status()]

    app = TopApp(ask, SystemClock())
    async with app.run_test() as pilot:
        await app.look()
        table = app.query_one("#connectors", DataTable)
        assert table.row_count == 2
        await pilot.press("s")
        assert app.sort == "state"
        await pilot.press("slash", *"lathe", "enter")
        await pilot.pause()
        assert (app.filter_text, table.row_count) == ("lathe", 1)
        assert not app.query_one("#filter", Input).display
        await pilot.press("escape")
        await pilot.pause()
        assert table.row_count == 2
        is_away = True
        await app.look()
        assert table.row_count == 2
        await pilot.press("q")
    assert app.return_code == 0
