"""Questions to the historian and its answers as one Arrow table."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from millstream.bus._link import Link
from millstream.kernel import DecodeError, NotFoundError, PlantError, Unreachable
from millstream.protocols.cloudevents import CloudEvent
from millstream.protocols.history_query import QUERY_SUBJECT, node_subject
from millstream.protocols.uns_pattern import Pattern
from millstream.protocols.uns_payload import decode_value

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE_KINDS = ("tag", "count", "kpi", "state")
EVENT_KINDS = ("event", "alarm")
ANSWER_BYTES_MAX = 1 << 30  # of one answer; more should be asked for in parts


class Historian:
    """Who answers questions to the history: that of the edge `edge`, and where it keeps none (or `edge` is None), the
    hub's."""

    def __init__(self, link: Link, edge: str | None) -> None:
        self._link = link
        self._subjects = (QUERY_SUBJECT,) if edge is None else (node_subject(edge), QUERY_SUBJECT)

    async def ask(self, request: Mapping[str, Any], *, timeout_s: float = 30.0) -> pa.Table:
        """Send one query, gather its parts. Raises what the historian reports, or Unreachable when there is none."""
        for subject in self._subjects[:-1]:
            with contextlib.suppress(_NobodyError):
                return await _ask(self._link, subject, request, timeout_s)
        return await _ask(self._link, self._subjects[-1], request, timeout_s)

    async def resolve(self, patterns: Sequence[Pattern], kind: str) -> Sequence[str]:
        """The names of a kind that patterns stand for, as the historian knows them. Raises NotFoundError for none.

        The historian's own patterns are a shell's, in which a star crosses levels: they are asked for as a superset.
        """
        names = [str(pattern.tag) for pattern in patterns if pattern.is_exact]
        wide = [pattern for pattern in patterns if not pattern.is_exact]
        if not wide:
            return names
        table = await self.ask({"kind": "names", "tags": ["*"], "data_kind": kind})
        known = table.column("tag").to_pylist() if "tag" in table.column_names else []
        found = [name for name in known if any(pattern.fits_path(name) for pattern in wide)]
        if not found and not names:
            raise NotFoundError(
                f"no {kind} with history fits",
                got=", ".join(p.text for p in wide),
                next_step="list tags with `millstream tree`",
            )
        return list(dict.fromkeys([*names, *found]))


class _NobodyError(Unreachable):
    """No historian answers on this subject."""

    default_code = "MS-0683"


async def _ask(link: Link, subject: str, request: Mapping[str, Any], timeout_s: float) -> pa.Table:
    import pyarrow as pa

    parts: list[pa.Table] = []
    size = 0
    payload = json.dumps({key: value for key, value in request.items() if value is not None}).encode()
    try:
        async with aclosing(link.request_many(subject, payload, timeout_s=timeout_s)) as replies:
            async for reply in replies:
                if "Ms-Error" in reply.headers:
                    raise reported(reply.headers["Ms-Error"])
                if reply.payload:
                    size += len(reply.payload)
                    parts.append(pa.ipc.open_stream(reply.payload).read_all())
                if reply.headers.get("Ms-Status") == "done":
                    break
                if size > ANSWER_BYTES_MAX:
                    raise PlantError(
                        "the answer is too large", expected=f"at most {ANSWER_BYTES_MAX >> 20} MiB",
                        next_step="ask for a shorter time, fewer tags, or aggregates with `every`", code="MS-0583",
                    )  # fmt: skip
    except Unreachable as error:
        if "nobody answers" in error.what:
            raise _NobodyError(
                "no historian answers", where=link.url,
                next_step="ask a hub, or give the edge's file a `historian` section",
            ) from error  # fmt: skip
        raise
    return pa.concat_tables(parts, promote_options="permissive") if parts else pa.table({})


def reported(header: str) -> PlantError:
    """The error that a reply tells."""
    try:
        raw = json.loads(header)
    except ValueError:
        return PlantError("the historian refused the query", got=header[:200])
    error_class = NotFoundError if str(raw.get("code", "")).startswith("MS-05") else PlantError
    return error_class(
        str(raw.get("message") or "the historian refused the query"), where=raw.get("where"),
        expected=raw.get("expected"), got=raw.get("got"), next_step=raw.get("hint"), code=raw.get("code"),
    )  # fmt: skip


def check_kind(kind: str, expected: Sequence[str]) -> str:
    """The kind, when history has rows of this form for it. Raises DecodeError."""
    if kind not in expected:
        raise DecodeError(
            "history has no such kind of data", expected=", ".join(expected), got=repr(kind), code="MS-0580"
        )
    return kind


def stored_event(row: Mapping[str, Any]) -> CloudEvent:
    """An event from a row of an answer, `timestamp` as UTC ns."""
    raw = row["data"]
    data = None if raw is None else decode_value(raw)
    extensions = json.loads(row["extensions"]) if row["extensions"] else {}
    return CloudEvent(
        row["id"], row["source"], row["type"], data, row["timestamp"], row["subject"], row["content_type"], extensions
    )
