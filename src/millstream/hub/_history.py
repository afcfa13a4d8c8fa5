"""Who may see which part of the hub's history."""

from __future__ import annotations

from millstream.bus import HISTORY_BELOW
from millstream.historian import HistorianService, HistoryView, RequestHandler
from millstream.kernel import DecodeError
from millstream.model import AssetPath
from millstream.protocols.uns_subject import PREFIX, unescape_token


def history_below(historian: HistorianService, subject: str, _origin: str) -> RequestHandler:
    """Who answers on ``millstream.history.below.<path>``: the history as seen below that path. The server lets a person
    ask under its own paths only, so the subject says what it may see."""
    tokens = subject.removeprefix(f"{HISTORY_BELOW}.{PREFIX}").split(".")
    try:
        roots = [str(AssetPath(tuple(unescape_token(token) for token in tokens)))]
    except DecodeError:  # no path: below it lies nothing
        roots = []
    return HistoryView(historian, roots).answer
