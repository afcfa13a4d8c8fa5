"""Where a historian answers, as who asks and who answers both know it."""

from __future__ import annotations

QUERY_SUBJECT = "millstream.historian.query"
