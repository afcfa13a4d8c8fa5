"""From a file's `historian` section and a connection to the service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from millstream.archive._ports import NodeContracts, NodeDeadLetters, NodeRequests, NodeStreamStates
from millstream.bus import RawConnection, StreamReader
from millstream.config import HistorianConfig, KeepConfig
from millstream.historian import (
    Around,
    ClickhouseServer,
    HistorianOptions,
    HistorianService,
    Keep,
    KeepRule,
    PostgresServer,
    Tell,
)
from millstream.kernel import Clock
from millstream.protocols.history_query import QUERY_SUBJECT
from millstream.protocols.uns_pattern import Pattern
from millstream.sdk import Log


def node_historian(
    config: HistorianConfig, connection: RawConnection, folder: Path, *, streams: Sequence[str], letters: str,
    requests: NodeRequests | None = None, subject: str = QUERY_SUBJECT, clock: Clock, log: Log,
    is_held: Callable[[], bool] = lambda: False, server: PostgresServer | ClickhouseServer | None = None,
    tell: Tell | None = None,
) -> HistorianService:  # fmt: skip
    """The history of a node's streams in `folder`, or on `server`. What cannot be read goes to the subject `letters`;
    questions are answered on `subject`, without `requests` it only stores. What the node's contracts say of how long
    what is kept holds here, too; `tell` stores the event of a change of it, without it nobody is told from here."""
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
            keep=Keep(config.retention, _end(config.minute_rollups), _end(config.hour_rollups)),
            rules=tuple(_rule(rule, config) for rule in config.rules),
            bytes_max=config.max_bytes,
            memory_bytes_max=config.max_memory,
            query_s_max=config.query_timeout,
            server=server,
        ),
        is_held=is_held,
        contracts=Around(NodeContracts(connection), tell),
    )


def _rule(rule: KeepConfig, config: HistorianConfig) -> KeepRule:
    """What a rule does not say is as for all others."""
    keep = Keep(
        config.retention if rule.retention is None else _end(rule.retention),
        _end(config.minute_rollups if rule.minute_rollups is None else rule.minute_rollups),
        _end(config.hour_rollups if rule.hour_rollups is None else rule.hour_rollups),
    )
    return KeepRule(tuple(Pattern.parse(path) for path in rule.paths), keep)


def _end(age: float | Literal["never"] | None) -> float | None:
    return None if age == "never" else age
