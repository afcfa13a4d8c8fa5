"""The query model in PostgreSQL's SQL. Numbers stand in the text, so that the planner sees them; text is bound.

Answers come from the samples: there are no sealed days here. Rollups stand in the place of samples that retention has
dropped, so of a tag's day there are either, and windows of whole minutes take both. The newest sample at or before a
time is one look into the index of tag and time.
"""

from __future__ import annotations

from collections.abc import Sequence

from millstream.historian._columns import TIME_MAX_NS, TIME_MIN_NS
from millstream.historian._dialect_duckdb import (
    DAY_NS,
    QUALITY,
    Chosen,
    RolledSpan,
    Span,
    Sql,
    rolled_span,
    span_of,
)
from millstream.historian._query import Aggregate, AsOf, Count, Events, Range, Window

_INT64_MAX = 2**63 - 1
_FINITE = "value > '-Infinity' AND value < 'Infinity'"  # NaN is greater than all there
_NUMBER = f"CASE WHEN kind BETWEEN 1 AND 3 AND {_FINITE} THEN value END"
_PICKS: dict[Aggregate, str] = {
    "count": "count(*)",
    "min": "min(number)",
    "max": "max(number)",
    "mean": "sum(number) / count(number)",
    "sum": "sum(number)",
    "first": "(array_agg(number ORDER BY t_ns, n) FILTER (WHERE number IS NOT NULL))[1]",
    "last": "(array_agg(number ORDER BY t_ns DESC, n DESC) FILTER (WHERE number IS NOT NULL))[1]",
}
_COLUMNS = "kind, value, whole, text, quality"


def _ids(tag_ids: Sequence[int]) -> str:
    return "'{" + ",".join(str(int(i)) for i in tag_ids) + "}'::integer[]"


def _condition(tag_ids: Sequence[int], span: Span) -> str:
    return f"tag_id = ANY({_ids(tag_ids)}) AND time_ns >= {span.start_ns:d} AND time_ns < {span.end_ns:d}"


def samples_sql(chosen: Chosen, span: Span) -> str:
    """Columns tag_id, t_ns, n and those of the value."""
    where = _condition(chosen.tag_ids, span)
    if not chosen.single_ids:
        return f"SELECT tag_id, time_ns AS t_ns, n, {_COLUMNS} FROM readings WHERE {where}"
    # Before any filter: a bad value that corrects a good one hides it.
    return (
        f"SELECT tag_id, t_ns, n, {_COLUMNS} FROM (SELECT tag_id, time_ns AS t_ns, n, {_COLUMNS}, "
        f"row_number() OVER (PARTITION BY tag_id, time_ns ORDER BY n DESC) AS place FROM readings WHERE {where}) each "
        f"WHERE place = 1 OR tag_id <> ALL({_ids(chosen.single_ids)})"
    )


def render_events(query: Events, chosen: Chosen) -> Sql:
    """As of the other dialect."""
    where, bound = _condition(chosen.tag_ids, span_of(query.start_ns, query.end_ns)), list[object]()
    for sign, wanted in (("", query.type), ("NOT ", query.without)):
        if wanted is not None:
            bound.append(wanted.removesuffix("*"))
            at = f"${len(bound)}"
            where += f" AND {sign}starts_with(type, {at})" if wanted.endswith("*") else f" AND {sign}type = {at}"
    way = "DESC" if query.descending else "ASC"
    return Sql(
        "SELECT tag_id, time_ns AS ts, id, source, type, subject, content_type, data, extensions FROM (SELECT *, "
        "row_number() OVER (PARTITION BY tag_id, time_ns, source, id ORDER BY n DESC) AS place FROM events "
        f"WHERE {where}) each WHERE place = 1 ORDER BY time_ns {way}, tag_id, n {way} LIMIT {query.limit + 1:d}",
        bound,
    )


def render_range(query: Range, chosen: Chosen) -> Sql:
    """As of the other dialect."""
    source = samples_sql(chosen, span_of(query.start_ns, query.end_ns))
    way = "DESC" if query.descending else "ASC"
    return Sql(
        f"SELECT tag_id, t_ns AS ts, {_COLUMNS} FROM ({source}) s WHERE {QUALITY[query.quality]} "
        f"ORDER BY t_ns {way}, tag_id, n {way} LIMIT {query.limit + 1:d}"
    )


def render_count(query: Count, chosen: Chosen) -> Sql:
    """As of the other dialect."""
    source = samples_sql(chosen, span_of(query.start_ns, query.end_ns))
    return Sql(
        f"SELECT tag_id, count(*) AS count FROM ({source}) s WHERE {QUALITY[query.quality]} GROUP BY 1 ORDER BY 1"
    )


def render_window(query: Window, chosen: Chosen) -> Sql:
    """As of the other dialect."""
    span = span_of(query.start_ns, query.end_ns)
    if "time_weighted_mean" in query.aggregates:
        return _render_weighted(query, chosen, span)
    rolled = rolled_span(query, span, chosen)
    if rolled is not None:
        return _render_rolled(query, chosen, span, rolled)
    picks = ", ".join(f"{_PICKS[a]} AS {a}" for a in dict.fromkeys(query.aggregates))
    return Sql(
        f"WITH s AS (SELECT tag_id, t_ns, n, {_NUMBER} AS number FROM ({samples_sql(chosen, span)}) raw "
        f"WHERE {QUALITY[query.quality]}) SELECT tag_id, {_start(query, span)} AS ts, {picks} FROM s "
        f"GROUP BY 1, 2 ORDER BY 2, 1 LIMIT {query.limit + 1:d}"
    )


_PICKS_OF_PARTS: dict[Aggregate, str] = {
    "count": "sum(rows)::bigint",
    "min": "min(low)",
    "max": "max(high)",
    "mean": "sum(total) / nullif(sum(numbers), 0)",
    "sum": "sum(total)",
    "first": "(array_agg(opening ORDER BY open_ns, n) FILTER (WHERE opening IS NOT NULL))[1]",
    "last": "(array_agg(closing ORDER BY close_ns DESC, n DESC) FILTER (WHERE closing IS NOT NULL))[1]",
}


def day_sql(column: str) -> str:
    """The day since 1970 that a time lies in; `/` rounds to 0."""
    return f"({column} / {DAY_NS} - ({column} % {DAY_NS} < 0)::integer)"


def _render_rolled(query: Window, chosen: Chosen, span: Span, rolled: RolledSpan) -> Sql:
    """From rollups, and from the samples of days of tags that have none."""
    picks = ", ".join(f"{_PICKS_OF_PARTS[a]} AS {a}" for a in dict.fromkeys(query.aggregates))
    of_tags = f"tag_id = ANY({_ids(chosen.tag_ids)})"
    days = (
        f"SELECT DISTINCT tag_id, {day_sql('start_ns')} AS day FROM rollups WHERE {of_tags} "
        f"AND level_s IN (60, 3600) AND start_ns >= {rolled.day_ns:d} AND start_ns < {span.end_ns:d}"
    )
    return Sql(
        f"WITH days AS MATERIALIZED ({days}), s AS (SELECT raw.tag_id, t_ns, n, {_NUMBER} AS number FROM "
        f"({samples_sql(chosen, span)}) raw LEFT JOIN days ON days.tag_id = raw.tag_id "
        f"AND days.day = {day_sql('t_ns')} WHERE days.tag_id IS NULL AND {QUALITY['usable']}), "
        "parts AS (SELECT tag_id, t_ns, t_ns AS open_ns, t_ns AS close_ns, n, 1::bigint AS rows, "
        "(number IS NOT NULL)::integer::bigint AS numbers, number AS low, number AS high, number AS total, "
        "number AS opening, number AS closing FROM s UNION ALL "
        "SELECT tag_id, start_ns, first_ns, last_ns, -1, rows, numbers, low, high, total, opening, closing "
        f"FROM rollups WHERE {of_tags} AND level_s = {rolled.level_s:d} AND start_ns >= {rolled.first_ns:d} "
        f"AND start_ns < {rolled.end_ns:d}) "
        f"SELECT tag_id, {_start(query, span)} AS ts, {picks} FROM parts GROUP BY 1, 2 ORDER BY 2, 1 "
        f"LIMIT {query.limit + 1:d}"
    )


def _start(query: Window, span: Span) -> str:
    """The start of the window that `t_ns` lies in; it is not before the first one's, so `/` rounds down."""
    base, every = _grid(query, span)
    return f"(t_ns - ({base:d})) / {every:d} * {every:d} + ({base:d})"


_SUMMED_MAX = 1e290  # so many as a minute may have of these do not exceed what a number holds, which would be an error


def rollup_sql(chosen: Chosen, span: Span, level_s: int) -> str:
    """The rollups of samples, as rows of their table."""
    every = level_s * 10**9
    start = f"(t_ns / {every:d} - (t_ns % {every:d} < 0)::integer) * {every:d}"
    first, last = _PICKS["first"], _PICKS["last"]
    return (
        f"SELECT {level_s:d}, tag_id, {start}, count(*), count(number), min(number), max(number), "
        f"CASE WHEN bool_or(abs(number) >= {_SUMMED_MAX:g}) THEN 'NaN'::double precision "
        f"ELSE sum(number) FILTER (WHERE abs(number) < {_SUMMED_MAX:g}) END, {first}, {last}, "
        "min(t_ns) FILTER (WHERE number IS NOT NULL), max(t_ns) FILTER (WHERE number IS NOT NULL) "
        f"FROM (SELECT tag_id, t_ns, n, {_NUMBER} AS number FROM ({samples_sql(chosen, span)}) raw "
        f"WHERE {QUALITY['usable']}) s GROUP BY 2, 3"
    )


def _grid(query: Window, span: Span) -> tuple[int, int]:
    return span.start_ns // query.every_ns * query.every_ns, query.every_ns


def _render_weighted(query: Window, chosen: Chosen, span: Span) -> Sql:
    """With the time-weighted mean: each sample holds from its time to the next one's, cut at the windows."""
    base, every = _grid(query, span)
    start, end = span.start_ns, span.end_ns
    usable = QUALITY[query.quality]
    plain = [a for a in dict.fromkeys(query.aggregates) if a != "time_weighted_mean"]
    picks = "".join(f", {_PICKS[a]} AS {a}" for a in plain)
    outer = ", ".join(
        "t.weighted AS time_weighted_mean"
        if a == "time_weighted_mean"
        else "coalesce(p.count, 0) AS count"
        if a == "count"
        else f"p.{a}"
        for a in dict.fromkeys(query.aggregates)
    )
    return Sql(
        f"WITH raw AS ({samples_sql(chosen, span)} UNION ALL SELECT b.* FROM unnest({_ids(chosen.tag_ids)}) AS i(id) "
        f"CROSS JOIN LATERAL (SELECT tag_id, time_ns AS t_ns, n, {_COLUMNS} FROM readings WHERE tag_id = i.id "
        f"AND time_ns < {start:d} ORDER BY time_ns DESC, n DESC LIMIT 1) b), "
        f"s AS (SELECT tag_id, t_ns, n, quality, {_NUMBER} AS number FROM raw), "
        f"held AS (SELECT tag_id, quality, number, greatest(t_ns, {start:d}) AS a, "
        f"least(coalesce(lead(t_ns) OVER (PARTITION BY tag_id ORDER BY t_ns, n), {end:d}), {end:d}) AS b FROM s), "
        f"cut AS (SELECT tag_id, number, a, b, k * {every:d} + ({base:d}) AS w FROM held CROSS JOIN LATERAL "
        f"generate_series((a - ({base:d})) / {every:d}, (b - 1 - ({base:d})) / {every:d}) AS k "
        f"WHERE b > a AND number IS NOT NULL AND {usable}), "
        "weights AS (SELECT tag_id, w, number, "
        f"(least(b, w + {every:d}) - greatest(a, w))::double precision AS held_ns FROM cut), "
        "t AS (SELECT tag_id, w, sum(number * held_ns) / sum(held_ns) AS weighted FROM weights GROUP BY 1, 2), "
        f"p AS (SELECT tag_id, {_start(query, span)} AS w{picks} FROM s WHERE t_ns >= {start:d} AND {usable} "
        "GROUP BY 1, 2) "
        f"SELECT tag_id, w AS ts, {outer} FROM p FULL JOIN t USING (tag_id, w) ORDER BY 2, 1 LIMIT {query.limit + 1:d}"
    )


def render_asof(query: AsOf, chosen: Chosen) -> Sql:
    """As of the other dialect."""
    where = f"r.tag_id = i.id AND r.time_ns <= at.t_ns AND {QUALITY[query.quality]}"
    if query.max_age_ns is not None and query.max_age_ns <= TIME_MAX_NS - TIME_MIN_NS:
        age = min(query.max_age_ns, _INT64_MAX)
        where += f" AND r.time_ns >= greatest(at.t_ns, {TIME_MIN_NS + age:d}) - {age:d}"
    if chosen.single_ids:
        where += (
            f" AND (i.id <> ALL({_ids(chosen.single_ids)}) OR NOT EXISTS (SELECT 1 FROM readings c "
            "WHERE c.tag_id = r.tag_id AND c.time_ns = r.time_ns AND c.n > r.n))"
        )
    return Sql(
        f"SELECT i.id AS tag_id, at.t_ns AS ts, s.t_ns AS sample_ts, s.kind, s.value, s.whole, s.text, s.quality "
        f"FROM ({_reference(query, chosen.reference_id)}) at CROSS JOIN unnest({_ids(chosen.tag_ids)}) AS i(id) "
        f"CROSS JOIN LATERAL (SELECT time_ns AS t_ns, {_COLUMNS} FROM readings r WHERE {where} "
        f"ORDER BY r.time_ns DESC, r.n DESC LIMIT 1) s ORDER BY 2, 1 LIMIT {query.limit + 1:d}"
    )


def _reference(query: AsOf, reference_id: int | None) -> str:
    """The times that are asked for, as `t_ns`."""
    if query.times_ns is not None:
        clipped = sorted({min(max(t, TIME_MIN_NS), TIME_MAX_NS - 1) for t in query.times_ns})
        return "SELECT unnest('{" + ",".join(str(int(t)) for t in clipped) + "}'::bigint[]) AS t_ns"
    span = span_of(query.start_ns, query.end_ns)
    if query.every_ns is not None:
        every = min(query.every_ns, _INT64_MAX)
        return (
            f"SELECT t_ns FROM generate_series({span.start_ns:d}::bigint, {span.end_ns - 1:d}::bigint, "
            f"{every:d}::bigint) AS t_ns"
        )
    assert reference_id is not None
    return f"SELECT DISTINCT time_ns AS t_ns FROM readings WHERE {_condition([reference_id], span)}"
