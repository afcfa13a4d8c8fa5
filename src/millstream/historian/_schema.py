"""The tables of the embedded history."""

from __future__ import annotations

SCHEMA_VERSION = 2

# `n` is the place of arrival over all streams: it orders samples of equal time. `kind`, `value`, `whole` and `text` are
# described in `_columns`. `tags.kind` is the kind of data (tag, count, event ...): path and kind together are the
# identity. `is_corrected`: a sample with a revision came, so of equal times the one stored last counts. A segment is
# a sealed day; its `file` is null once retention has dropped the samples.
# There is no index: rows are in order of arrival, so that zone maps prune by time.
SCHEMA = """
CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS readings (
    tag_id UINTEGER NOT NULL, ts TIMESTAMP_NS NOT NULL, n BIGINT NOT NULL, kind UTINYINT NOT NULL,
    value DOUBLE, whole BIGINT, text VARCHAR, quality UINTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    tag_id UINTEGER NOT NULL, ts TIMESTAMP_NS NOT NULL, n BIGINT NOT NULL, id VARCHAR NOT NULL, source VARCHAR NOT NULL,
    type VARCHAR NOT NULL, subject VARCHAR, content_type VARCHAR NOT NULL, data VARCHAR, extensions VARCHAR
);
CREATE TABLE IF NOT EXISTS tags (
    tag_id UINTEGER PRIMARY KEY, path VARCHAR NOT NULL, description VARCHAR, kind VARCHAR DEFAULT 'tag',
    is_corrected BOOLEAN DEFAULT false
);
CREATE TABLE IF NOT EXISTS sink_pos (
    stream VARCHAR, generation BIGINT, last_seq BIGINT NOT NULL, last_stored_ns BIGINT NOT NULL,
    PRIMARY KEY (stream, generation)
);
CREATE TABLE IF NOT EXISTS stream_gaps (
    stream VARCHAR, generation BIGINT, first_seq BIGINT, last_seq BIGINT, noticed_ns BIGINT
);
CREATE TABLE IF NOT EXISTS ledger_state (
    stream VARCHAR, origin VARCHAR, state BLOB NOT NULL, PRIMARY KEY (stream, origin)
);
CREATE TABLE IF NOT EXISTS counters (name VARCHAR PRIMARY KEY, value BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS last_value (
    tag_id UINTEGER, ts BIGINT, kind UTINYINT, value DOUBLE, whole BIGINT, text VARCHAR, quality UINTEGER
);
CREATE TABLE IF NOT EXISTS segments (day BIGINT PRIMARY KEY, file VARCHAR, rows BIGINT NOT NULL, rollup VARCHAR);
CREATE TABLE IF NOT EXISTS dead_letters (
    source VARCHAR, payload BLOB, reason VARCHAR, code VARCHAR, subject VARCHAR, content_type VARCHAR, time_ns BIGINT
);
"""

MIGRATIONS: dict[int, tuple[str, ...]] = {
    1: (
        "ALTER TABLE tags ADD COLUMN IF NOT EXISTS kind VARCHAR DEFAULT 'tag'",
        "ALTER TABLE tags ADD COLUMN IF NOT EXISTS is_corrected BOOLEAN DEFAULT false",
    )
}
"""What makes a store of that version one of the next; all that apply are run in one transaction."""
