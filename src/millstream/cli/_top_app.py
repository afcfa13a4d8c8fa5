"""The terminal application of ``top``. Only this module imports textual."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.widgets import DataTable, Footer, Input, Static

from millstream.cli._top_rows import (
    CONNECTOR_COLUMNS,
    SORT_COLUMNS,
    STREAM_COLUMNS,
    Rates,
    arranged,
    connector_rows,
    headline,
    stream_rows,
)
from millstream.kernel import Clock, PlantError

PERIOD_S = 1.0

Ask = Callable[[], Awaitable[Sequence[Mapping[str, Any]]]]


class TopApp(App[None]):
    """Connectors, streams and uplinks, asked again each second. `ask` gives the nodes' status."""

    TITLE = "millstream top"
    CSS = "#head, #note {height: auto;} #connectors {height: 2fr;} #streams {height: 1fr;} #filter {display: none;}"
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "Quit"),
        ("s", "sort", "Sort"),
        ("slash", "filter", "Filter"),
        ("escape", "clear", "All"),
    ]

    def __init__(self, ask: Ask, clock: Clock) -> None:
        super().__init__()
        self._ask = ask
        self._clock = clock
        self._answers: Sequence[Mapping[str, Any]] = ()
        self._rows = connector_rows((), Rates(), 0)
        self._rates = Rates()
        self.sort = SORT_COLUMNS[0]
        self.filter_text = ""

    def compose(self) -> ComposeResult:
        """Lines, two tables, the filter."""
        yield Static("asking...", id="head", markup=False)
        yield DataTable[str](id="connectors", cursor_type="none")
        yield DataTable[str](id="streams", cursor_type="none")
        yield Input(placeholder="filter connectors", id="filter")
        yield Static("", id="note", markup=False)
        yield Footer()

    async def on_mount(self) -> None:
        """Columns, then the first look."""
        self.query_one("#connectors", DataTable).add_columns(*CONNECTOR_COLUMNS)
        self.query_one("#streams", DataTable).add_columns(*STREAM_COLUMNS)
        self.set_focus(None)
        self.run_worker(self._watch(), exclusive=True)

    async def _watch(self) -> None:
        while True:
            await self.look()
            await self._clock.sleep(PERIOD_S)

    async def look(self) -> None:
        """Ask once and show it; an outage is told and the last rows stay."""
        try:
            self._answers = await self._ask()
        except PlantError as error:
            self._note(str(error))
            return
        self._rows = connector_rows(self._answers, self._rates, self._clock.now_ns())
        self._note("")
        self._draw()

    def _note(self, error: str) -> None:
        state = f"sorted by {self.sort}" + (f", filter '{self.filter_text}'" if self.filter_text else "")
        self.query_one("#note", Static).update(error or state)

    def _draw(self) -> None:
        self.query_one("#head", Static).update(headline(self._answers))
        _fill(self.query_one("#connectors", DataTable), [r.cells() for r in self._arranged()])
        _fill(self.query_one("#streams", DataTable), stream_rows(self._answers))

    def _arranged(self) -> Sequence[Any]:
        return arranged(self._rows, self.sort, self.filter_text)

    def action_sort(self) -> None:
        """Sort by the next column."""
        self.sort = SORT_COLUMNS[(SORT_COLUMNS.index(self.sort) + 1) % len(SORT_COLUMNS)]
        self._note("")
        self._draw()

    def action_filter(self) -> None:
        """Type a text that the rows shall hold; Enter ends the typing."""
        box = self.query_one("#filter", Input)
        box.display = True
        box.focus()

    def action_clear(self) -> None:
        """All rows again."""
        self.query_one("#filter", Input).value = ""
        self._end_typing()

    def on_input_changed(self, event: Input.Changed) -> None:
        """The rows follow while a person types."""
        self.filter_text = event.value
        self._note("")
        self._draw()

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        """Keys are commands again."""
        self._end_typing()

    def _end_typing(self) -> None:
        self.query_one("#filter", Input).display = False
        self.set_focus(None)


def _fill(table: DataTable[Any], rows: Sequence[Sequence[str]]) -> None:
    from rich.text import Text  # a name with brackets is no markup

    place = table.scroll_y
    table.clear()
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    table.scroll_to(y=place, animate=False)
