"""Where a historian answers, as who asks and who answers both know it."""

from __future__ import annotations

QUERY_SUBJECT = "millstream.historian.query"
"""The hub's. An edge that is connected asks it here, too; its own history has another subject, or both would answer."""


def node_subject(edge: str) -> str:
    """Where the history of one edge answers."""
    return f"millstream.node.{edge}.history"
