"""The tables of a history in ClickHouse. They are for reading by others too: `samples` is the way in."""

from __future__ import annotations

SCHEMA_VERSION = 1
PARTITION_NS = 30 * 86_400 * 10**9  # retention drops whole partitions
_KEPT = "SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 1000"
_TIME = "time_ns Int64 CODEC(Delta(8), ZSTD(1))"
_ORDER = "n Int64 CODEC(Delta(8), ZSTD(1))"
_BY_ORDER = "INDEX by_n n TYPE minmax GRANULARITY 1"

# As in `_schema`; a time is ns since 1970 (a DateTime64(9) begins in 1900). `n` has the writer's number in its upper
# bits (see `_clickhouse_store`). `state` is what commits: its rows of one commit are one block, and so are there
# altogether or not at all; of its partitions only the one of the newest writer counts.
SCHEMA = (
    f"CREATE TABLE IF NOT EXISTS readings (tag_id UInt32 CODEC(Delta(4), ZSTD(1)), {_TIME}, {_ORDER}, "
    "kind UInt8 CODEC(ZSTD(1)), value Nullable(Float64) CODEC(ZSTD(1)), whole Nullable(Int64) CODEC(ZSTD(1)), "
    f"text Nullable(String) CODEC(ZSTD(1)), quality UInt32 CODEC(ZSTD(1)), {_BY_ORDER}) ENGINE = MergeTree "
    f"PARTITION BY intDiv(time_ns, {PARTITION_NS}) ORDER BY (tag_id, time_ns, n) {_KEPT}",
    f"CREATE TABLE IF NOT EXISTS events (tag_id UInt32, {_TIME}, {_ORDER}, id String, source String, type String, "
    "subject Nullable(String), content_type String, data Nullable(String), extensions Nullable(String), "
    f"{_BY_ORDER}) ENGINE = MergeTree PARTITION BY intDiv(time_ns, {PARTITION_NS}) "
    f"ORDER BY (tag_id, time_ns, n) {_KEPT}",
    "CREATE TABLE IF NOT EXISTS tags (tag_id UInt32, n Int64, path String, description Nullable(String), kind String, "
    f"is_corrected Bool) ENGINE = MergeTree ORDER BY (tag_id, n) {_KEPT}",
    "CREATE TABLE IF NOT EXISTS stream_gaps (n Int64, stream String, generation Int64, first_seq Int64, "
    f"last_seq Int64, noticed_ns Int64) ENGINE = MergeTree ORDER BY (stream, generation, first_seq) {_KEPT}",
    "CREATE TABLE IF NOT EXISTS dead_letters (n Int64, source String, payload String, reason String, code String, "
    f"subject String, content_type String, time_ns Int64) ENGINE = MergeTree ORDER BY (time_ns, source) {_KEPT}",
    "CREATE TABLE IF NOT EXISTS last_value (upto Int64, tag_id UInt32, time_ns Int64, kind UInt8, "
    "value Nullable(Float64), whole Nullable(Int64), text Nullable(String), quality UInt32) "
    f"ENGINE = MergeTree PARTITION BY upto ORDER BY tag_id {_KEPT}",
    "CREATE TABLE IF NOT EXISTS state (writer Int64, kind String, name String, part String, number Int64, n Int64, "
    "value Int64, extra Int64, data String) ENGINE = ReplacingMergeTree(n) PARTITION BY writer "
    f"ORDER BY (kind, name, part, number) {_KEPT}",
    # What is not of a commit that counts is left out by the same rules as in `Seen`.
    "CREATE VIEW IF NOT EXISTS samples AS WITH (SELECT max(writer) FROM state) AS now, "
    "(SELECT max(value) FROM state WHERE writer = now AND kind = 'order') AS upto, "
    "(SELECT groupArray((number, value)) FROM state WHERE writer = now AND kind = 'void') AS voids "
    "SELECT t.path AS path, t.kind AS kind, r.time_ns AS time_ns, fromUnixTimestamp64Nano(r.time_ns, 'UTC') AS time, "
    "r.value AS value, r.whole AS whole, r.text AS text, r.quality AS quality, r.tag_id AS tag_id FROM readings AS r "
    "INNER JOIN (SELECT tag_id, path, kind FROM tags ORDER BY n DESC LIMIT 1 BY tag_id) AS t ON r.tag_id = t.tag_id "
    "WHERE r.n < upto AND NOT arrayExists(v -> r.n >= v.1 AND r.n < v.2, voids)",
    f"CREATE TABLE IF NOT EXISTS schema_version_{SCHEMA_VERSION} (version UInt8) ENGINE = Memory",
)

# Made also in a history that has been there for longer. `first_ns` and `last_ns` are the times of `opening` and
# `closing`. Minutes and hours lie in partitions of their own, which go at their own time.
ROLLUPS = (
    f"CREATE TABLE IF NOT EXISTS rollups (level_s UInt32, tag_id UInt32 CODEC(Delta(4), ZSTD(1)), "
    f"start_ns Int64 CODEC(Delta(8), ZSTD(1)), {_ORDER}, rows Int64 CODEC(ZSTD(1)), numbers Int64 CODEC(ZSTD(1)), "
    "low Nullable(Float64) CODEC(ZSTD(1)), high Nullable(Float64) CODEC(ZSTD(1)), "
    "total Nullable(Float64) CODEC(ZSTD(1)), opening Nullable(Float64) CODEC(ZSTD(1)), "
    "closing Nullable(Float64) CODEC(ZSTD(1)), first_ns Int64 CODEC(ZSTD(1)), last_ns Int64 CODEC(ZSTD(1)), "
    f"{_BY_ORDER}) ENGINE = MergeTree PARTITION BY (level_s, intDiv(start_ns, {PARTITION_NS})) "
    f"ORDER BY (tag_id, level_s, start_ns) {_KEPT}"
)
