"""The query model in DuckDB's SQL. The only place where SQL for questions is made; every value is a bound parameter.

Samples are the hot rows and those of the sealed days that the range touches; `n` orders samples of equal time
(sealed ones came first). Windows are cut by integer arithmetic, since DuckDB's `time_bucket` rounds nanoseconds to
microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from millstream.historian._columns import TIME_MAX_NS, TIME_MIN_NS
from millstream.historian._query import Aggregate, AsOf, Count, Events, QualityFilter, Range, Window

DAY_NS = 86_400 * 10**9
MINUTE_NS, HOUR_NS = 60 * 10**9, 3600 * 10**9
_DAYS_MAX = 2**20  # more than there are days in all times, before and after 1970
_SEALED_FIRST = -(2**62)  # sealed rows sort before any hot row of the same time
QUALITY: dict[QualityFilter, str] = {"any": "true", "usable": "quality < 2147483648", "good": "quality < 1073741824"}
_NUMBER = "CASE WHEN kind BETWEEN 1 AND 3 AND isfinite(value) THEN value END"
_ROLLED: frozenset[Aggregate] = frozenset(("count", "min", "max", "mean", "sum", "first", "last"))


@dataclass(frozen=True, slots=True)
class Segment:
    """A sealed day: number of days since 1970, absolute paths. `file` is None when only its rollup is left."""

    day: int
    file: str | None
    rollup: str | None

    @property
    def start_ns(self) -> int:
        """First ns of the day."""
        return self.day * DAY_NS

    @property
    def end_ns(self) -> int:
        """First ns after the day."""
        return (self.day + 1) * DAY_NS

    @property
    def is_part(self) -> bool:
        """True when some tags have rollups of it, but no samples any more."""
        return self.rollup is not None and (self.file is None or is_lapsed(self.file))


def is_lapsed(name: str) -> bool:
    """True for a file that was written anew without what is over: ``days/2026-01-31.80-1.parquet``."""
    return "-" in name.removesuffix(".parquet").rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The tags that a query is about; `single_ids` of them have one value a time (see `TagEntry.is_single`), and are
    answered from their samples on `raw_days`; on `whole_days` of these all tags have samples. On a server, of days that
    end at `rolled_until_ns` or before it some tags have rollups in the place of samples; None: none has. `late` are
    tags and days of which only the rollup is left: samples that came since do not count."""

    tag_ids: Sequence[int]
    single_ids: Sequence[int] = ()
    raw_days: frozenset[int] = frozenset()
    whole_days: frozenset[int] = frozenset()
    late: frozenset[tuple[int, int]] = frozenset()
    reference_id: int | None = None
    rolled_until_ns: int | None = None


@dataclass(slots=True)
class Sql:
    """Statement and its parameters, in order."""

    text: str
    parameters: list[object] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Span:
    """A range of times that the store can hold, UTC ns; `end_ns` is not in it."""

    start_ns: int
    end_ns: int


def span_of(start_ns: int | None, end_ns: int | None) -> Span:
    """The range asked for, cut to what can be stored."""
    start = TIME_MIN_NS if start_ns is None else min(max(start_ns, TIME_MIN_NS), TIME_MAX_NS)
    end = TIME_MAX_NS if end_ns is None else min(max(end_ns, TIME_MIN_NS), TIME_MAX_NS)
    return Span(start, end)


def _condition(tag_ids: Sequence[int], span: Span) -> Sql:
    of_tags = _of_tags(tag_ids)
    return Sql(
        f"ts >= make_timestamp_ns(?) AND ts < make_timestamp_ns(?) AND {of_tags.text}",
        [span.start_ns, span.end_ns, *of_tags.parameters],
    )


def _of_tags(tag_ids: Sequence[int]) -> Sql:
    """The bounds skip row groups, which the list alone does not before the file is read."""
    found = Sql("tag_id BETWEEN ? AND ?", [min(tag_ids), max(tag_ids)])
    if len(tag_ids) > 1:
        found.text += " AND tag_id IN (SELECT unnest(?::UINTEGER[]))"
        found.parameters.append(list(tag_ids))
    return found


def _samples(chosen: Chosen, span: Span, segments: Sequence[Segment]) -> Sql:
    found = _condition(chosen.tag_ids, span)
    condition, bound = found.text, found.parameters
    columns = "kind, value, whole, text, quality"
    sql = Sql(f"SELECT tag_id, ts, n, {columns} FROM readings WHERE {condition}", list(bound))
    if chosen.late:
        day = f"epoch_ns(ts) // {DAY_NS} - (epoch_ns(ts) % {DAY_NS} < 0)::BIGINT"
        sql.text += f" AND tag_id::BIGINT * {_DAYS_MAX} + {day} NOT IN (SELECT unnest(?::BIGINT[]))"
        sql.parameters.append([tag_id * _DAYS_MAX + number for tag_id, number in sorted(chosen.late)])
    files = [s.file for s in segments if s.file and s.start_ns < span.end_ns and s.end_ns > span.start_ns]
    if files:
        sql.text += (
            f" UNION ALL SELECT tag_id, ts, file_row_number + ?::BIGINT AS n, {columns}"
            f" FROM read_parquet(?, file_row_number = true) WHERE {condition}"
        )
        sql.parameters += [_SEALED_FIRST, files, *bound]
    if chosen.single_ids:
        # Before any filter: a bad value that corrects a good one hides it.
        sql.text = (
            f"SELECT * FROM ({sql.text}) QUALIFY row_number() OVER (PARTITION BY tag_id, ts ORDER BY n DESC) = 1"
            " OR tag_id NOT IN (SELECT unnest(?::UINTEGER[]))"
        )
        sql.parameters.append(list(chosen.single_ids))
    return sql


def render_events(query: Events, chosen: Chosen) -> Sql:
    """Columns tag_id, ts, id, source, type, subject, content_type, data, extensions; one row more than `limit` shows
    that it was cut."""
    found = _condition(chosen.tag_ids, span_of(query.start_ns, query.end_ns))
    for sign, wanted in (("", query.type), ("NOT ", query.without)):
        if wanted is not None:
            found.text += f" AND {sign}starts_with(type, ?)" if wanted.endswith("*") else f" AND {sign}type = ?"
            found.parameters.append(wanted.removesuffix("*"))
    way = "DESC" if query.descending else "ASC"
    return Sql(
        f"SELECT * EXCLUDE (n) FROM (SELECT * FROM events WHERE {found.text} "
        "QUALIFY row_number() OVER (PARTITION BY tag_id, ts, source, id ORDER BY n DESC) = 1) "
        f"ORDER BY ts {way}, tag_id, n {way} LIMIT ?",
        [*found.parameters, query.limit + 1],
    )


def render_range(query: Range, chosen: Chosen, segments: Sequence[Segment]) -> Sql:
    """Columns tag_id, ts, kind, value, whole, text, quality; one row more than `limit` shows that it was cut."""
    source = _samples(chosen, span_of(query.start_ns, query.end_ns), segments)
    way = "DESC" if query.descending else "ASC"
    return Sql(
        f"SELECT tag_id, ts, kind, value, whole, text, quality FROM ({source.text}) WHERE {QUALITY[query.quality]} "
        f"ORDER BY ts {way}, tag_id, n {way} LIMIT ?",
        [*source.parameters, query.limit + 1],
    )


def render_count(query: Count, chosen: Chosen, segments: Sequence[Segment]) -> Sql:
    """Columns tag_id, count."""
    source = _samples(chosen, span_of(query.start_ns, query.end_ns), segments)
    return Sql(
        f"SELECT tag_id, count(*) AS count FROM ({source.text}) WHERE {QUALITY[query.quality]} GROUP BY 1 ORDER BY 1",
        source.parameters,
    )


_FROM_RAW: dict[Aggregate, str] = {
    "count": "count(*)",
    "min": "min(number)",
    "max": "max(number)",
    "mean": "avg(number)",
    "sum": "sum(number)",
    "first": "arg_min(number, (t_ns, n))",
    "last": "arg_max(number, (t_ns, n))",
}
_FROM_PARTS: dict[Aggregate, str] = {
    "count": "sum(rows)::BIGINT",
    "min": "min(low)",
    "max": "max(high)",
    "mean": "sum(total) / nullif(sum(numbers), 0)",
    "sum": "sum(total)",
    "first": "arg_min(opening, t_ns)",
    "last": "arg_max(closing, t_ns)",
}


def render_window(query: Window, chosen: Chosen, segments: Sequence[Segment]) -> Sql:
    """Columns tag_id, ts (start of the window) and one column for each aggregate, in the order asked for."""
    if "time_weighted_mean" in query.aggregates:
        return _render_weighted(query, chosen, segments)
    span = span_of(query.start_ns, query.end_ns)
    rolled = _rolled_segments(query, span, segments, chosen.raw_days)
    base = span.start_ns // query.every_ns * query.every_ns
    days = chosen.whole_days.union(s.day for s in rolled)
    parts = [s for s in segments if s.is_part and s.day not in days] if is_rollable(query) else []
    parts = [s for s in parts if s.start_ns < span.end_ns and s.end_ns > span.start_ns]
    if rolled or parts:
        return _render_rolled(query, chosen, segments, rolled, parts, base)
    source = _samples(chosen, span, segments)
    picks = ", ".join(f"{_FROM_RAW[a]} AS {a}" for a in dict.fromkeys(query.aggregates))
    return Sql(
        f"WITH s AS (SELECT tag_id, epoch_ns(ts) AS t_ns, n, {_NUMBER} AS number FROM ({source.text}) "
        f"WHERE {QUALITY[query.quality]}) "
        "SELECT tag_id, (t_ns - ?::BIGINT) // ?::BIGINT * ?::BIGINT + ?::BIGINT AS ts, "
        f"{picks} FROM s GROUP BY 1, 2 ORDER BY 2, 1 LIMIT ?",
        [*source.parameters, base, query.every_ns, query.every_ns, base, query.limit + 1],
    )


def is_rollable(query: Window) -> bool:
    """Whether rollups can answer it: windows of whole minutes, with the quality that they are made with."""
    return not query.every_ns % MINUTE_NS and query.quality == "usable" and _ROLLED.issuperset(query.aggregates)


@dataclass(frozen=True, slots=True)
class RolledSpan:
    """Which rollups a window query takes on a server: of `level_s`, those wholly inside of its range. `day_ns` is the
    beginning of the first day that it touches."""

    level_s: int
    first_ns: int
    end_ns: int
    day_ns: int


def rolled_span(query: Window, span: Span, chosen: Chosen) -> RolledSpan | None:
    """None when samples alone answer it."""
    if chosen.rolled_until_ns is None or span.start_ns >= chosen.rolled_until_ns or not is_rollable(query):
        return None
    level_ns = HOUR_NS if query.every_ns % HOUR_NS == 0 else MINUTE_NS
    first, end = -(-span.start_ns // level_ns) * level_ns, span.end_ns // level_ns * level_ns
    return RolledSpan(level_ns // 10**9, first, end, span.start_ns // DAY_NS * DAY_NS)


def _rolled_segments(query: Window, span: Span, segments: Sequence[Segment], raw_days: frozenset[int]) -> list[Segment]:
    """Days that their rollups can answer for: whole, in windows of whole minutes, with the quality they were made
    with. A correction that came after the rollup was made would be counted beside what it corrects: tags with such
    are answered from their samples as long as there are any."""
    if not is_rollable(query):
        return []
    whole = [s for s in segments if s.rollup and s.start_ns >= span.start_ns and s.end_ns <= span.end_ns]
    return [s for s in whole if s.file is None or s.day not in raw_days]


def _render_rolled(
    query: Window,
    chosen: Chosen,
    segments: Sequence[Segment],
    rolled: Sequence[Segment],
    parts: Sequence[Segment],
    base: int,
) -> Sql:
    """Whole days from their rollups, of others (`parts`) those of tags that have no samples of them any more."""
    days = {s.day for s in rolled}
    raw = _samples(chosen, span_of(query.start_ns, query.end_ns), [s for s in segments if s.day not in days])
    level = 3600 if query.every_ns % HOUR_NS == 0 else 60
    picks = ", ".join(f"{_FROM_PARTS[a]} AS {a}" for a in dict.fromkeys(query.aggregates))
    # A sealed sample of the same time came before a hot one: `t_ns` has the hot row's n, or less than all of them.
    text = (
        f"WITH s AS (SELECT tag_id, epoch_ns(ts) AS at_ns, n, {_NUMBER} AS number FROM ({raw.text}) "
        f"WHERE {QUALITY['usable']}), "
        "parts AS (SELECT tag_id, at_ns, (at_ns, n) AS t_ns, 1 AS rows, (number IS NOT NULL)::BIGINT AS numbers, "
        "number AS low, number AS high, number AS total, number AS opening, number AS closing FROM s"
    )
    parameters = list(raw.parameters)
    span = span_of(query.start_ns, query.end_ns)
    inside = [-(-span.start_ns // (level * 10**9)) * level * 10**9, span.end_ns // (level * 10**9) * level * 10**9]
    of_tags = _of_tags(chosen.tag_ids)
    sources = [("true", [s.rollup for s in rolled], list[object]())] if rolled else []
    for part in parts:
        where = "start_ns >= ? AND start_ns < ?"
        if part.file is not None:
            where += " AND tag_id NOT IN (SELECT tag_id FROM read_parquet(?))"
        sources.append((where, [part.rollup], [*inside, *([part.file] if part.file is not None else [])]))
    # Each reading of a file reads its footer anew: only what the aggregates need.
    for columns, place, is_needed in (
        ("NULL, rows, numbers, low, high, total, NULL, NULL", [], not {"first", "last"}.issuperset(query.aggregates)),
        ("(first_ns, ?::BIGINT), 0, 0, NULL, NULL, NULL, opening, NULL", [_SEALED_FIRST], "first" in query.aggregates),
        ("(last_ns, ?::BIGINT), 0, 0, NULL, NULL, NULL, NULL, closing", [_SEALED_FIRST], "last" in query.aggregates),
    ):
        for where, files, bound in sources if is_needed else ():
            text += (
                f" UNION ALL SELECT tag_id, start_ns, {columns} FROM read_parquet(?) "
                f"WHERE level_s = ? AND {of_tags.text} AND {where}"
            )
            parameters += [*place, files, level, *of_tags.parameters, *bound]
    text += (
        ") SELECT tag_id, (at_ns - ?::BIGINT) // ?::BIGINT * ?::BIGINT + ?::BIGINT AS ts, "
        f"{picks} FROM parts GROUP BY 1, 2 ORDER BY 2, 1 LIMIT ?"
    )
    return Sql(text, [*parameters, base, query.every_ns, query.every_ns, base, query.limit + 1])


def _render_weighted(query: Window, chosen: Chosen, segments: Sequence[Segment]) -> Sql:
    """With the time-weighted mean: each sample holds from its time to the next one's, cut at the windows."""
    span = span_of(query.start_ns, query.end_ns)
    every, base = query.every_ns, span.start_ns // query.every_ns * query.every_ns
    source = _samples(chosen, Span(TIME_MIN_NS, span.end_ns), segments)
    usable = QUALITY[query.quality]
    plain = [a for a in dict.fromkeys(query.aggregates) if a != "time_weighted_mean"]
    picks = "".join(f", {_FROM_RAW[a]} AS {a}" for a in plain)
    outer = ", ".join(
        "weighted AS time_weighted_mean"
        if a == "time_weighted_mean"
        else "coalesce(p.count, 0) AS count"
        if a == "count"
        else f"p.{a}"
        for a in dict.fromkeys(query.aggregates)
    )
    text = (
        f"WITH raw AS (SELECT tag_id, epoch_ns(ts) AS t_ns, n, quality, {_NUMBER} AS number FROM ({source.text})), "
        "newest AS (SELECT tag_id, max((t_ns, n)) AS top FROM raw WHERE t_ns < ? GROUP BY 1), "
        "s AS (SELECT raw.* FROM raw LEFT JOIN newest USING (tag_id) WHERE t_ns >= ? OR (t_ns, n) = top), "
        "held AS (SELECT tag_id, quality, number, greatest(t_ns, ?::BIGINT) AS a, "
        "least(coalesce(lead(t_ns) OVER (PARTITION BY tag_id ORDER BY t_ns, n), ?::BIGINT), ?::BIGINT) AS b FROM s), "
        "cut AS (SELECT tag_id, number, a, b, "
        "unnest(range((a - ?::BIGINT) // ?::BIGINT, (b - 1 - ?::BIGINT) // ?::BIGINT + 1)) "
        f"* ?::BIGINT + ?::BIGINT AS w FROM held WHERE b > a AND number IS NOT NULL AND {usable}), "
        "weights AS (SELECT tag_id, w, number, "
        "(least(b, w + ?::BIGINT) - greatest(a, w))::DOUBLE AS held_ns FROM cut), "
        "t AS (SELECT tag_id, w, sum(number * held_ns) / sum(held_ns) AS weighted FROM weights GROUP BY 1, 2), "
        f"p AS (SELECT tag_id, (t_ns - ?::BIGINT) // ?::BIGINT * ?::BIGINT + ?::BIGINT AS w{picks} FROM s "
        f"WHERE t_ns >= ? AND {usable} GROUP BY 1, 2) "
        f"SELECT tag_id, w AS ts, {outer} FROM p FULL JOIN t USING (tag_id, w) ORDER BY 2, 1 LIMIT ?"
    )
    start, end = span.start_ns, span.end_ns
    return Sql(
        text,
        [
            *source.parameters,
            start,
            start,
            start,
            end,
            end,
            base,
            every,
            base,
            every,
            every,
            base,
            every,
            base,
            every,
            every,
            base,
            start,
            query.limit + 1,
        ],
    )


def render_asof(
    query: AsOf,
    chosen: Chosen,
    segments: Sequence[Segment],
) -> Sql:
    """Columns tag_id, ts (reference time), sample_ts, kind, value, whole, text, quality; no row where there is no
    sample."""
    times, last_ns, first_ns = _reference(query, chosen.reference_id, segments)
    oldest = TIME_MIN_NS if query.max_age_ns is None or first_ns is None else first_ns - query.max_age_ns
    source = _samples(chosen, span_of(oldest, last_ns + 1), segments)
    text = (
        f"WITH r AS ({times.text}), ids AS (SELECT unnest(?::UINTEGER[]) AS tag_id), "
        "wanted AS (SELECT ids.tag_id, r.t_ns FROM r CROSS JOIN ids), "
        "s AS (SELECT tag_id, epoch_ns(ts) AS t_ns, kind, value, whole, text, quality "
        f"FROM ({source.text}) WHERE {QUALITY[query.quality]} "
        "QUALIFY row_number() OVER (PARTITION BY tag_id, ts ORDER BY n DESC) = 1) "
        "SELECT w.tag_id, w.t_ns AS ts, s.t_ns AS sample_ts, s.kind, s.value, s.whole, s.text, s.quality "
        "FROM wanted w ASOF JOIN s ON w.tag_id = s.tag_id AND w.t_ns >= s.t_ns "
    )
    parameters = [*times.parameters, list(chosen.tag_ids), *source.parameters]
    if query.max_age_ns is not None:
        text += "WHERE w.t_ns - s.t_ns <= ? "
        parameters.append(query.max_age_ns)
    return Sql(text + "ORDER BY 2, 1 LIMIT ?", [*parameters, query.limit + 1])


def _reference(query: AsOf, reference_id: int | None, segments: Sequence[Segment]) -> tuple[Sql, int, int | None]:
    if query.times_ns is not None:
        span = span_of(min(query.times_ns, default=0), max(query.times_ns, default=0))
        clipped = sorted({min(max(t, TIME_MIN_NS), TIME_MAX_NS - 1) for t in query.times_ns})
        return Sql("SELECT unnest(?::BIGINT[]) AS t_ns", [clipped]), min(span.end_ns, TIME_MAX_NS - 1), span.start_ns
    span = span_of(query.start_ns, query.end_ns)
    if query.every_ns is not None:
        return (
            Sql(
                "SELECT unnest(range(?::BIGINT, ?::BIGINT, ?::BIGINT)) AS t_ns",
                [span.start_ns, span.end_ns, query.every_ns],
            ),
            span.end_ns - 1,
            span.start_ns,
        )
    assert reference_id is not None
    source = _samples(Chosen([reference_id]), span, segments)
    return (
        Sql(f"SELECT DISTINCT epoch_ns(ts) AS t_ns FROM ({source.text})", source.parameters),
        span.end_ns - 1,
        span.start_ns,
    )
