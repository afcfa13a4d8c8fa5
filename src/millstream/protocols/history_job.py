"""Work on a hub's history as a whole, asked on ``millstream.node.<hub>.history_job``: JSON, a line break, for an import
Arrow IPC with the columns of an export. The answer is JSON, for a piece of a copy its bytes, or the header
``Ms-Error``."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from millstream.kernel import DecodeError

PART_ROWS = 2000  # of a file; the same for all, or a file that is sent again would be cut elsewhere
COPY_PART_BYTES = 256 * 1024  # below what a server takes as one message
DAYS_MAX = 4000  # of one question for rollups


def job_subject(hub: str) -> str:
    """Where a hub takes such work."""
    return f"millstream.node.{hub}.history_job"


class ImportPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="job", tag="import"):
    """Rows `part` (from 1) of `parts` of one file; `id` stands for its content and how it is taken. Part 0 has no rows
    and asks how far the file is stored."""

    id: str
    name: str
    who: str
    part: int
    parts: int
    kind: Literal["tag", "count", "kpi", "state"] = "tag"
    is_correction: bool = False


class RollupsAgain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="job", tag="rollups"):
    """Work the rollups of sealed days out anew from their samples; days since 1970, both included."""

    who: str
    first_day: int
    last_day: int


class CopyBegin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="job", tag="copy"):
    """Make a copy of the whole history, for a backup; the one before is gone then."""

    who: str


class CopyPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="job", tag="copy_part"):
    """The bytes of a file of the copy from `offset` on, at most `COPY_PART_BYTES`; none behind its end."""

    id: str
    file: str
    offset: int


class CopyEnd(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="job", tag="copy_end"):
    """The copy is not needed any more."""

    id: str


class CopiedFile(msgspec.Struct, frozen=True):
    """A file of a copy, by its path below the history's folder."""

    name: str
    bytes: int
    sha256: str


class CopyAnswer(msgspec.Struct, frozen=True):
    """Of the begin of a copy. `proof` says what is in it: rows of its tables and of its sealed days, and how far each
    stream is stored."""

    id: str
    files: tuple[CopiedFile, ...]
    proof: dict[str, Any]


class JobAnswer(msgspec.Struct, frozen=True):
    """Of an import: how many parts are stored, and how many rows of this one are `late`: of days of which retention has
    left only the rollup. Of rollups: how many days were worked out."""

    done: int
    late: int = 0


Job: TypeAlias = ImportPart | RollupsAgain | CopyBegin | CopyPart | CopyEnd
_decoder: msgspec.json.Decoder[Job] = msgspec.json.Decoder(Job)


def encode_job(job: Job, rows: bytes = b"") -> bytes:
    """A question with its rows."""
    return msgspec.json.encode(job) + b"\n" + rows


def decode_job(payload: bytes) -> tuple[Job, bytes]:
    """A question and its rows. Raises DecodeError (MS-0433)."""
    line, _, rows = payload.partition(b"\n")
    try:
        job = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused("JSON of an import, of rollups or of a copy", str(error)[:120]) from error
    if isinstance(job, ImportPart):
        if not (job.id.isalnum() and job.id.isascii() and 16 <= len(job.id) <= 64):
            raise _refused("an id of 16 to 64 letters and digits", job.id[:80])
        if not 0 <= job.part <= job.parts or len(job.name) > 512 or len(job.who) > 128:
            raise _refused("a part of the file, and names that are not longer than usual")
    elif isinstance(job, CopyPart):
        if job.offset < 0 or len(job.file) > 512 or len(job.id) > 64:
            raise _refused("a file of the copy, and where to begin")
    elif isinstance(job, RollupsAgain) and (
        not -DAYS_MAX * 30 <= job.first_day <= job.last_day < job.first_day + DAYS_MAX or len(job.who) > 128
    ):
        raise _refused(f"at most {DAYS_MAX} days that begin before they end")
    return job, rows


def _refused(expected: str, got: str | None = None) -> DecodeError:
    return DecodeError("this cannot be done with a history", expected=expected, got=got, code="MS-0433")
