"""Raw data from the edges that hold it, part by part as Arrow."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from millstream.bus._link import Frame, Link
from millstream.client._below import subjects_below
from millstream.kernel import DecodeError, PlantError, Unreachable
from millstream.protocols.below import FLEET_DATA
from millstream.protocols.fleet_data import (
    CURSOR,
    ERROR,
    HOLDS_FROM,
    NODE,
    STATUS,
    DataQuestion,
    DataSummary,
    NodeAccount,
)
from millstream.protocols.uns_payload import encode_value

if TYPE_CHECKING:
    import pyarrow as pa

PART_SLACK_S = 5.0  # behind the wait for one page of an edge
Whom = Callable[[], Awaitable[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class DataPart:
    """Some samples of one edge, in its order: tag, kind, timestamp, value, quality; of windows a column for each
    aggregate instead of the last two. The metadata of the schema says
    ``value_encoding: json`` when the values are JSON text, because they are of several types."""

    node: str
    table: pa.Table


class FleetDataRun:
    """One question for data: iterate it once for the parts as they come; `summary` is there after the last."""

    def __init__(self, arrivals: AsyncGenerator[DataPart | DataSummary, None]) -> None:
        self._arrivals = arrivals
        self.summary: DataSummary | None = None

    async def __aiter__(self) -> AsyncGenerator[DataPart, None]:
        async with aclosing(self._arrivals) as arrivals:
            async for arrived in arrivals:
                if isinstance(arrived, DataSummary):
                    self.summary = arrived
                    return
                yield arrived

    async def table(self) -> pa.Table:
        """All parts as one table, by time; values of several types as JSON text. Look at `summary` for what lacks."""
        return joined([part async for part in self])


def joined(parts: list[DataPart]) -> pa.Table:
    """Parts as one table, ordered by time."""
    import pyarrow as pa

    tables = [part.table for part in parts]
    if not tables:
        return pa.table({})
    if "value" not in tables[0].column_names:  # windows
        bare = [table.replace_schema_metadata(None) for table in tables]
        return pa.concat_tables(bare, promote_options="permissive").sort_by("timestamp")
    kinds = {_family(table) for table in tables}
    if len(kinds) > 1:
        tables = [_as_json(table) for table in tables]
    whole = pa.concat_tables([t.replace_schema_metadata(None) for t in tables], promote_options="permissive")
    if kinds != {"number"} and (len(kinds) > 1 or "json" in kinds):
        whole = whole.replace_schema_metadata({"value_encoding": "json"})
    return whole.sort_by("timestamp")


def _family(table: pa.Table) -> str:
    import pyarrow as pa

    if (table.schema.metadata or {}).get(b"value_encoding") == b"json":
        return "json"
    type = table.schema.field("value").type
    if pa.types.is_floating(type) or pa.types.is_integer(type):
        return "number"
    return str(type)


def _as_json(table: pa.Table) -> pa.Table:
    import pyarrow as pa

    if _family(table) == "json":
        return table
    values = [None if v is None else encode_value(v).decode() for v in table.column("value").to_pylist()]
    return table.set_column(table.schema.get_field_index("value"), "value", pa.array(values, pa.string()))


async def data_arrivals(link: Link, whom: Whom, question: DataQuestion) -> AsyncGenerator[DataPart | DataSummary, None]:
    """Parts and the account, from the hub, or page by page from the edge that the plant is seen from."""
    subjects = subjects_below(link, FLEET_DATA)
    if not subjects:
        role, name = await whom()
        if role == "edge":
            async for found in _of_edge(link, name, question):
                yield found
            return
        subjects = [f"millstream.node.{name}.fleet_data"]
    summaries: list[DataSummary] = []
    for subject in subjects:
        async for found in _of_hub(link, subject, question):
            if isinstance(found, DataSummary):
                summaries.append(found)
            else:
                yield found
    accounts = {node: account for one in summaries for node, account in one.nodes.items()}
    yield DataSummary(accounts, all(one.is_whole for one in summaries), sum(one.took_ms for one in summaries))


async def _of_hub(link: Link, subject: str, question: DataQuestion) -> AsyncGenerator[DataPart | DataSummary, None]:
    timeout_s = question.deadline_s + PART_SLACK_S
    async with aclosing(link.request_many(subject, msgspec.json.encode(question), timeout_s=timeout_s)) as replies:
        async for reply in replies:
            raise_reported(reply)
            if reply.headers.get(STATUS) == "done":
                yield msgspec.json.decode(reply.payload, type=DataSummary)
                return
            yield _part(reply.headers.get(NODE, ""), reply.payload, is_windows=question.is_windows)


async def _of_edge(link: Link, name: str, question: DataQuestion) -> AsyncGenerator[DataPart | DataSummary, None]:
    account, cursor = NodeAccount(), None
    while True:
        ask = question.page(secrets.token_hex(8), cursor)
        headers: Mapping[str, str] = {}
        asked = link.request_many(
            f"millstream.node.{name}.data", msgspec.json.encode(ask), timeout_s=question.deadline_s
        )
        async with aclosing(asked) as replies:
            async for reply in replies:
                raise_reported(reply)
                headers = reply.headers
                if reply.payload:
                    part = _part(name, reply.payload, is_windows=question.is_windows)
                    account.rows += len(part.table)
                    account.bytes += len(reply.payload)
                    yield part
                if headers.get(STATUS) != "part":
                    account.take_holds_from(headers.get(HOLDS_FROM))
                    break
        cursor = headers.get(CURSOR)
        if cursor is not None and account.bytes >= question.bytes_max:
            account.truncated, cursor = True, None
        if cursor is None:
            yield DataSummary({name: account}, not account.truncated, 0.0)
            return


def _part(node: str, payload: bytes, *, is_windows: bool) -> DataPart:
    import pyarrow as pa

    try:
        table = pa.ipc.open_stream(payload).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DecodeError(
            "an edge's data cannot be read", where=node, got=str(error)[:120], code="MS-2211",
            next_step=f"ask without it: `--of` with the others' names, and look at {node}",
        ) from error  # fmt: skip
    columns = {"tag", "timestamp"} if is_windows else {"tag", "timestamp", "value", "quality"}
    if not columns <= set(table.column_names):
        raise DecodeError("an edge's data has other columns", where=node, code="MS-2211")
    return DataPart(node, table)


def raise_reported(reply: Frame) -> None:
    """Raise the error that a reply carries, if it does."""
    header = reply.headers.get(ERROR)
    if header is None:
        if reply.status is not None:
            raise Unreachable("the node refused", got=reply.status)
        return
    raw = msgspec.json.decode(header)
    raise PlantError(
        str(raw.get("message")), where=raw.get("where"), expected=raw.get("expected"), got=raw.get("got"),
        next_step=raw.get("hint"), code=raw.get("code"),
    )  # fmt: skip
