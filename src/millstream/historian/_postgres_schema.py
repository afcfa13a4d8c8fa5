"""The tables of a history in PostgreSQL. They are for reading by others too: `samples` and `tags` are the way in."""

from __future__ import annotations

SCHEMA_VERSION = 1
CHUNK_NS = 86_400 * 10**9  # of a hypertable

# As in `_schema`, but for what PostgreSQL has no type for: a time is ns since 1970 (its own timestamps end at
# microseconds), unsigned numbers lie in the next larger type. `kind` 6 is text with a NUL character, as JSON: text of
# PostgreSQL cannot hold one. `ledger_state` has no key, since an index would refuse the long names of a hostile sender,
# and the stream would stand.
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS schema_version (version integer NOT NULL)",
    "CREATE TABLE IF NOT EXISTS readings (tag_id integer NOT NULL, time_ns bigint NOT NULL, n bigint NOT NULL, "
    "kind smallint NOT NULL, value double precision, whole bigint, text text, quality bigint NOT NULL)",
    "CREATE TABLE IF NOT EXISTS events (tag_id integer NOT NULL, time_ns bigint NOT NULL, n bigint NOT NULL, "
    "id text NOT NULL, source text NOT NULL, type text NOT NULL, subject text, content_type text NOT NULL, data text, "
    "extensions text)",
    "CREATE TABLE IF NOT EXISTS tags (tag_id integer PRIMARY KEY, path text NOT NULL, description text, "
    "kind text NOT NULL, is_corrected boolean NOT NULL)",
    "CREATE TABLE IF NOT EXISTS sink_pos (stream text, generation bigint, last_seq bigint NOT NULL, "
    "last_stored_ns bigint NOT NULL, PRIMARY KEY (stream, generation))",
    "CREATE TABLE IF NOT EXISTS stream_gaps (stream text, generation bigint, first_seq bigint, last_seq bigint, "
    "noticed_ns bigint)",
    "CREATE TABLE IF NOT EXISTS ledger_state (stream text NOT NULL, origin text NOT NULL, state bytea NOT NULL)",
    "CREATE TABLE IF NOT EXISTS counters (name text PRIMARY KEY, value bigint NOT NULL)",
    "CREATE TABLE IF NOT EXISTS dead_letters (source text NOT NULL, payload bytea, reason text, code text, "
    "subject text, content_type text, time_ns bigint)",
    "CREATE INDEX IF NOT EXISTS readings_by_tag ON readings (tag_id, time_ns, n)",
    "CREATE INDEX IF NOT EXISTS readings_by_time ON readings USING brin (time_ns)",
    "CREATE INDEX IF NOT EXISTS events_by_tag ON events (tag_id, time_ns)",
    "CREATE OR REPLACE VIEW samples AS SELECT t.path, t.kind, r.time_ns, "
    "to_timestamp(r.time_ns / 1e9) AS time, r.value, r.whole, r.text, r.quality, t.tag_id "
    "FROM readings r JOIN tags t USING (tag_id)",
)

# Made also in a history that has been there for longer: whoever does not know them reads on without. `first_ns` and
# `last_ns` are the times of `opening` and `closing`. The key finds the rollups of a tag in the order of time.
ROLLUPS = (
    "CREATE TABLE IF NOT EXISTS rollups (level_s integer NOT NULL, tag_id integer NOT NULL, start_ns bigint NOT NULL, "
    "rows bigint NOT NULL, numbers bigint NOT NULL, low double precision, high double precision, "
    "total double precision, opening double precision, closing double precision, first_ns bigint, last_ns bigint, "
    "PRIMARY KEY (tag_id, level_s, start_ns))"
)
