"""From a file's `historian` section and a connection to the service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from millstream.archive._ports import NodeDeadLetters, NodeRequests, NodeStreamStates
from millstream.bus import RawConnection, StreamReader
from millstream.config import HistorianConfig
from millstream.historian import HistorianOptions, HistorianService
from millstream.kernel import Clock
from millstream.protocols.history_query import QUERY_SUBJECT
from millstream.sdk import Log


def node_historian(
    config: HistorianConfig, connection: RawConnection, folder: Path, *, streams: Sequence[str], letters: str,
    requests: NodeRequests | None = None, subject: str = QUERY_SUBJECT, clock: Clock, log: Log,
    is_held: Callable[[], bool] = lambda: False,
) -> HistorianService:  # fmt: skip
    """The history of a node's streams in `folder`. What cannot be read goes to the subject `letters`; questions are
    answered on `subject`, without `requests` it only stores."""
    return HistorianService(
        StreamReader(connection),
        folder,
        streams=streams,
        states=NodeStreamStates(connection),
        dead_letters=NodeDeadLetters(connection, letters),
        requests=requests,
        subject=subject,
        clock=clock,
        log=log,
        options=HistorianOptions(
            hot_window_s=config.hot_window,
            retention_s=config.retention,
            bytes_max=config.max_bytes,
            memory_bytes_max=config.max_memory,
            query_s_max=config.query_timeout,
        ),
        is_held=is_held,
    )
