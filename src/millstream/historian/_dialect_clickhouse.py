"""The query model in ClickHouse's SQL. Numbers stand in the text; text is quoted.

Answers come from the samples: there are no sealed days here. Rollups stand in the place of samples that retention
drops: the samples of a tag's day that has some do not count for windows of whole minutes. `seen` is the condition that
a row counts (see `_clickhouse_store`). Integers wrap around there instead of failing, so distances between times are
unsigned: the farthest of two times do not fit a signed one.
"""

from __future__ import annotations

from collections.abc import Sequence

from millstream.historian._clickhouse_link import quoted
from millstream.historian._columns import TIME_MAX_NS, TIME_MIN_NS
from millstream.historian._dialect_duckdb import DAY_NS, QUALITY, Chosen, RolledSpan, Span, rolled_span, span_of
from millstream.historian._query import Aggregate, AsOf, Count, Events, Range, Window
from millstream.historian._store import HistoryStoreError

_INT64_MAX = 2**63 - 1
_COLUMNS = "kind, value, whole, text, quality"
_NUMBER = "if(kind BETWEEN 1 AND 3 AND isFinite(value), value, NULL)"
_PICKS: dict[Aggregate, str] = {
    "count": "toInt64(count())",
    "min": "min(number)",
    "max": "max(number)",
    "mean": "sum(number) / count(number)",
    "sum": "sum(number)",
    "first": "argMinIf(number, (t_ns, n), number IS NOT NULL)",
    "last": "argMaxIf(number, (t_ns, n), number IS NOT NULL)",
}


def _ids(tag_ids: Sequence[int]) -> str:
    return ", ".join(str(int(i)) for i in tag_ids)


def _condition(tag_ids: Sequence[int], span: Span, seen: str) -> str:
    return f"tag_id IN ({_ids(tag_ids)}) AND time_ns >= {span.start_ns:d} AND time_ns < {span.end_ns:d} AND {seen}"


def samples_sql(chosen: Chosen, span: Span, seen: str) -> str:
    """Columns tag_id, t_ns, n and those of the value."""
    single = set(chosen.single_ids)
    plain = [tag_id for tag_id in chosen.tag_ids if tag_id not in single]
    columns = f"SELECT tag_id, time_ns AS t_ns, n, {_COLUMNS} FROM readings WHERE"
    parts = [f"{columns} {_condition(plain, span, seen)}"] if plain else []
    if single:
        # Before any filter: a bad value that corrects a good one hides it.
        parts.append(
            f"SELECT * FROM ({columns} {_condition(sorted(single), span, seen)} "
            "ORDER BY n DESC LIMIT 1 BY tag_id, t_ns)"
        )
    return " UNION ALL ".join(parts)


def render_events(query: Events, chosen: Chosen, seen: str) -> str:
    """As of the other dialects."""
    where = _condition(chosen.tag_ids, span_of(query.start_ns, query.end_ns), seen)
    for sign, wanted in (("", query.type), ("NOT ", query.without)):
        if wanted is not None:
            text = quoted(wanted.removesuffix("*"))
            where += f" AND {sign}startsWith(type, {text})" if wanted.endswith("*") else f" AND {sign}type = {text}"
    way = "DESC" if query.descending else "ASC"
    columns = "id, source, type, subject, content_type, data, extensions"
    return (
        f"SELECT tag_id, time_ns AS ts, {columns} FROM (SELECT tag_id, time_ns, n, {columns} FROM events WHERE {where} "
        f"ORDER BY n DESC LIMIT 1 BY tag_id, time_ns, source, id) ORDER BY time_ns {way}, tag_id, n {way} "
        f"LIMIT {query.limit + 1:d}"
    )


def render_range(query: Range, chosen: Chosen, seen: str) -> str:
    """As of the other dialects."""
    source = samples_sql(chosen, span_of(query.start_ns, query.end_ns), seen)
    way = "DESC" if query.descending else "ASC"
    return (
        f"SELECT tag_id, t_ns AS ts, {_COLUMNS} FROM ({source}) WHERE {QUALITY[query.quality]} "
        f"ORDER BY t_ns {way}, tag_id, n {way} LIMIT {query.limit + 1:d}"
    )


def render_count(query: Count, chosen: Chosen, seen: str) -> str:
    """As of the other dialects."""
    source = samples_sql(chosen, span_of(query.start_ns, query.end_ns), seen)
    return (
        f"SELECT tag_id, toInt64(count()) AS count FROM ({source}) WHERE {QUALITY[query.quality]} "
        "GROUP BY tag_id ORDER BY tag_id"
    )


def render_window(query: Window, chosen: Chosen, seen: str) -> str:
    """As of the other dialects. Raises HistoryStoreError for windows longer than times go."""
    span = span_of(query.start_ns, query.end_ns)
    base, every = _grid(query, span)
    aggregates = list(dict.fromkeys(query.aggregates))
    if "time_weighted_mean" in aggregates:
        return _render_weighted(query, chosen, seen)
    rolled = rolled_span(query, span, chosen)
    if rolled is not None:
        return _render_rolled(query, chosen, span, rolled, seen)
    picks = ", ".join(f"{_PICKS[a]} AS {a}" for a in aggregates)
    return (
        f"SELECT tag_id, {_start(base, every)} AS ts, {picks} FROM (SELECT tag_id, t_ns, n, {_NUMBER} AS number "
        f"FROM ({samples_sql(chosen, span, seen)}) WHERE {QUALITY[query.quality]}) "
        f"GROUP BY tag_id, ts ORDER BY ts, tag_id LIMIT {query.limit + 1:d}"
    )


_PICKS_OF_PARTS: dict[Aggregate, str] = {
    "count": "sum(rows)",
    "min": "min(low)",
    "max": "max(high)",
    "mean": "sum(total) / sum(numbers)",
    "sum": "sum(total)",
    "first": "argMinIf(opening, (open_ns, n), opening IS NOT NULL)",
    "last": "argMaxIf(closing, (close_ns, n), closing IS NOT NULL)",
}


def day_sql(column: str) -> str:
    """The day since 1970 that a time lies in; `intDiv` rounds to 0."""
    return f"toInt64(intDiv({column}, {DAY_NS}) - ({column} % {DAY_NS} < 0))"


def _render_rolled(query: Window, chosen: Chosen, span: Span, rolled: RolledSpan, seen: str) -> str:
    """From rollups, and from the samples of days of tags that have none."""
    base, every = _grid(query, span)
    picks = ", ".join(f"{_PICKS_OF_PARTS[a]} AS {a}" for a in dict.fromkeys(query.aggregates))
    of_tags = f"tag_id IN ({_ids(chosen.tag_ids)})"
    days = (
        f"SELECT tag_id, {day_sql('start_ns')} FROM rollups WHERE {of_tags} AND start_ns >= {rolled.day_ns:d} "
        f"AND start_ns < {span.end_ns:d} AND {seen}"
    )
    return (
        f"SELECT tag_id, {_start(base, every)} AS ts, {picks} FROM (SELECT tag_id, t_ns, t_ns AS open_ns, "
        "t_ns AS close_ns, n, toInt64(1) AS rows, toInt64(number IS NOT NULL) AS numbers, number AS low, "
        "number AS high, number AS total, number AS opening, number AS closing FROM (SELECT tag_id, t_ns, n, "
        f"{_NUMBER} AS number FROM ({samples_sql(chosen, span, seen)}) WHERE {QUALITY['usable']} "
        f"AND (t_ns >= {chosen.rolled_until_ns:d} OR (tag_id, {day_sql('t_ns')}) NOT IN ({days}))) UNION ALL "
        "SELECT tag_id, start_ns, first_ns, last_ns, toInt64(-1), rows, numbers, low, high, total, opening, closing "
        f"FROM rollups WHERE {of_tags} AND level_s = {rolled.level_s:d} AND start_ns >= {rolled.first_ns:d} "
        f"AND start_ns < {rolled.end_ns:d} AND {seen}) "
        f"GROUP BY tag_id, ts ORDER BY ts, tag_id LIMIT {query.limit + 1:d}"
    )


def rollup_sql(chosen: Chosen, span: Span, level_s: int, seen: str, n: int) -> str:
    """The rollups of samples, as rows of their table with the place of arrival `n`."""
    every = level_s * 10**9
    start = f"toInt64(intDiv(t_ns, {every:d}) - (t_ns % {every:d} < 0)) * {every:d}"
    return (
        f"SELECT toUInt32({level_s:d}), tag_id, {start} AS start_ns, toInt64({n:d}), toInt64(count()), "
        f"toInt64(count(number)), min(number), max(number), sum(number), {_PICKS['first']}, {_PICKS['last']}, "
        "minIf(t_ns, number IS NOT NULL), maxIf(t_ns, number IS NOT NULL) FROM (SELECT tag_id, t_ns, "
        f"n, {_NUMBER} AS number FROM ({samples_sql(chosen, span, seen)}) WHERE {QUALITY['usable']}) "
        "GROUP BY tag_id, start_ns"
    )


def _grid(query: Window, span: Span) -> tuple[int, int]:
    base = span.start_ns // query.every_ns * query.every_ns
    if query.every_ns > _INT64_MAX or base < -_INT64_MAX:
        raise HistoryStoreError(
            "history cannot answer: its windows are longer than all times", got=f"{query.every_ns} ns",
            next_step="ask for shorter windows",
        )  # fmt: skip
    return base, query.every_ns


def _start(base: int, every: int) -> str:
    """The start of the window that `t_ns` lies in."""
    return f"toInt64(intDiv(toUInt64(t_ns - ({base:d})), {every:d}) * {every:d}) + ({base:d})"


def _render_weighted(query: Window, chosen: Chosen, seen: str) -> str:
    """With the time-weighted mean: each sample holds from its time to the next one's, cut at the windows."""
    span = span_of(query.start_ns, query.end_ns)
    (base, every), start, end, usable = _grid(query, span), span.start_ns, span.end_ns, QUALITY[query.quality]
    plain = [a for a in dict.fromkeys(query.aggregates) if a != "time_weighted_mean"]
    picks = "".join(f", {_PICKS[a]} AS p_{a}" for a in plain)
    nulls = "".join(f", CAST(NULL, 'Nullable({'Int64' if a == 'count' else 'Float64'})') AS p_{a}" for a in plain)
    outer = ", ".join(
        "max(weighted) AS time_weighted_mean"
        if a == "time_weighted_mean"
        else "ifNull(max(p_count), 0) AS count"
        if a == "count"
        else f"max(p_{a}) AS {a}"
        for a in dict.fromkeys(query.aggregates)
    )
    newest = (
        f"SELECT * FROM (SELECT tag_id, time_ns AS t_ns, n, {_COLUMNS} FROM readings "
        f"WHERE {_condition(chosen.tag_ids, Span(TIME_MIN_NS, start), seen)} "
        "ORDER BY t_ns DESC, n DESC LIMIT 1 BY tag_id)"
    )
    number = f"toUInt64(%s - ({base:d}))"
    return (
        f"WITH s AS (SELECT tag_id, t_ns, n, quality, {_NUMBER} AS number FROM "
        f"({samples_sql(chosen, span, seen)} UNION ALL {newest})), "
        f"held AS (SELECT tag_id, quality, number, greatest(t_ns, toInt64({start:d})) AS a, "
        f"least(leadInFrame(t_ns, 1, toInt64({end:d})) OVER (PARTITION BY tag_id ORDER BY t_ns, n "
        f"ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING), toInt64({end:d})) AS b FROM s), "
        f"cut AS (SELECT tag_id, number, a, b, toInt64(arrayJoin(range(intDiv({number % 'a'}, {every:d}), "
        f"intDiv({number % 'b - 1'}, {every:d}) + 1)) * {every:d}) + ({base:d}) AS w FROM held "
        f" WHERE b > a AND number IS NOT NULL AND {usable}), "
        "weights AS (SELECT tag_id, w, number, toFloat64(least(toUInt64(b - w), toUInt64("
        f"{every:d})) - if(a > w, toUInt64(a - w), toUInt64(0))) AS held_ns FROM cut) "
        f"SELECT tag_id, w AS ts, {outer} FROM (SELECT tag_id, w, sum(number * held_ns) / sum(held_ns) AS weighted"
        f"{nulls} FROM weights GROUP BY tag_id, w UNION ALL "
        f"SELECT tag_id, {_start(base, every)} AS w, CAST(NULL, 'Nullable(Float64)') AS weighted{picks} FROM s "
        f"WHERE t_ns >= {start:d} AND {usable} GROUP BY tag_id, w) "
        f"GROUP BY tag_id, w ORDER BY ts, tag_id LIMIT {query.limit + 1:d}"
    )


def render_asof(query: AsOf, chosen: Chosen, seen: str) -> str:
    """As of the other dialects."""
    times, first_ns, last_ns = _reference(query, chosen.reference_id, seen)
    age = query.max_age_ns
    oldest = TIME_MIN_NS if age is None or first_ns is None else first_ns - age
    source = samples_sql(chosen, span_of(oldest, last_ns + 1), seen)
    young = "" if age is None else f"WHERE toUInt64(w.at_ns - s.t_ns) <= {min(age, 2**64 - 1):d} "
    return (
        "SELECT w.tag_id AS tag_id, w.at_ns AS ts, s.t_ns AS sample_ts, s.kind AS kind, s.value AS value, "
        "s.whole AS whole, s.text AS text, s.quality AS quality FROM "
        f"(SELECT at_ns, arrayJoin(CAST([{_ids(chosen.tag_ids)}], 'Array(UInt32)')) AS tag_id FROM ({times})) AS w "
        f"ASOF JOIN (SELECT tag_id, t_ns, {_COLUMNS} FROM ({source}) WHERE {QUALITY[query.quality]} "
        "ORDER BY n DESC LIMIT 1 BY tag_id, t_ns) AS s ON w.tag_id = s.tag_id AND w.at_ns >= s.t_ns "
        f"{young}ORDER BY ts, tag_id LIMIT {query.limit + 1:d}"
    )


def _reference(query: AsOf, reference_id: int | None, seen: str) -> tuple[str, int | None, int]:
    """The times that are asked for, as `at_ns`; the first, if that is known, and one that none is after."""
    if query.times_ns is not None:
        clipped = sorted({min(max(t, TIME_MIN_NS), TIME_MAX_NS - 1) for t in query.times_ns})
        listed = ", ".join(str(int(t)) for t in clipped)
        sql = f"SELECT arrayJoin(CAST([{listed}], 'Array(Int64)')) AS at_ns"
        return sql, clipped[0] if clipped else None, clipped[-1] if clipped else TIME_MIN_NS
    span = span_of(query.start_ns, query.end_ns)
    if query.every_ns is not None:
        count = len(range(span.start_ns, span.end_ns, query.every_ns))
        every = min(query.every_ns, _INT64_MAX)
        sql = f"SELECT toInt64(number * {every:d}) + ({span.start_ns:d}) AS at_ns FROM numbers({count:d})"
        return sql, span.start_ns, span.end_ns
    assert reference_id is not None
    sql = f"SELECT DISTINCT time_ns AS at_ns FROM readings WHERE {_condition([reference_id], span, seen)}"
    return sql, span.start_ns, span.end_ns
