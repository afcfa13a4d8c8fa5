"""Descriptions of the configured tags (`_meta`), published when they change."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from millstream.bus import write_private
from millstream.config import ConnectorEntry, MappedTag
from millstream.protocols.uns_subject import tag_subject
from millstream.sdk import Message

NOTE_FILE = "meta.json"


class _Known(msgspec.Struct, frozen=True):
    digest: str
    revision: int


class MetaNote(msgspec.Struct, frozen=True):
    """What was published last into which stream: subject -> digest and revision."""

    stream: str = ""
    tags: dict[str, _Known] = {}


def load_meta(data_dir: Path) -> MetaNote:
    """The note; empty when there is none or it cannot be read: then all is published again."""
    try:
        return msgspec.json.decode((data_dir / NOTE_FILE).read_bytes(), type=MetaNote)
    except (OSError, msgspec.DecodeError):
        return MetaNote()


def save_meta(data_dir: Path, note: MetaNote) -> None:
    """Write the note."""
    write_private(data_dir / NOTE_FILE, msgspec.json.encode(note).decode())


def describe(
    tags: Sequence[tuple[ConnectorEntry, MappedTag]], known: MetaNote, stream: str
) -> tuple[list[Message], MetaNote]:
    """The messages to publish into `stream`, and the note that is true once they are stored."""
    before: Mapping[str, _Known] = known.tags
    messages: list[Message] = []
    now: dict[str, _Known] = {}
    for entry, mapped in tags:
        subject = tag_subject(mapped.path, "_meta")
        body = _body(entry, mapped)
        digest = hashlib.sha256(msgspec.json.encode(body)).hexdigest()[:16]
        old = before.get(subject)
        is_same = old is not None and old.digest == digest
        revision = old.revision + (not is_same) if old is not None else 1
        now[subject] = _Known(digest, revision)
        if not is_same or known.stream != stream:
            messages.append(Message(subject, msgspec.json.encode({**body, "revision": revision}), samples_count=0))
    return messages, MetaNote(stream, now)


def _body(entry: ConnectorEntry, mapped: MappedTag) -> dict[str, object]:
    tag, config = mapped.tag, mapped.config
    return {
        "unit": config.unit,
        "data_type": None,
        "description": config.description,
        "source": {"connector": entry.name, "type": entry.type, "address": tag.address},
        "sampling_interval_s": tag.sampling_interval_s,
        "publishing_interval_s": tag.publishing_interval_s,
        "limits": None,
    }
