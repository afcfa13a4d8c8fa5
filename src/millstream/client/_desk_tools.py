"""What the desks of a plant work with."""

from __future__ import annotations

from dataclasses import dataclass

from millstream.client._acts import Acts
from millstream.client._commands import Commands
from millstream.client._history import Historian
from millstream.client._streams import Store, Streams, Whom
from millstream.kernel import Clock


@dataclass(frozen=True, slots=True)
class DeskTools:
    """One for all desks of a `Plant` (alarms, context, stops, scrap, figures, configurations, dead letters); each takes
    of it what it needs. A new desk is a class that is made with these."""

    streams: Streams
    """Reads what the node has stored."""
    store: Store
    """Stores one message, checked by the contracts."""
    whom: Whom
    """Says which node is asked: an edge of its own site, a hub of all."""
    commands: Commands
    """Has a hub tell its edges."""
    clock: Clock
    acts: Acts
    """Tells the audit who did what."""
    historian: Historian
    """Is asked for what the streams hold no more."""
