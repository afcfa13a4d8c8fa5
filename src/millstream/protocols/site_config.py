"""Configuration of a site from afar: one revision of its document, as it lies in the bucket `config` at the hub.

The bucket (stream ``KV_config``) has one key a site, its edge's name. A value is JSON: the document (YAML text; packed
when it is long), who wrote it, when, why, and which revision it was made from. Revisions of a site are counted from 1;
a site never takes one that is not newer than the newest it has seen, so an old one that is sent again does nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from millstream.kernel import ConfigError, DecodeError

DOCUMENT_BYTES_MAX = 8 << 20  # as a configuration file; 100,000 tags fit
PAYLOAD_BYTES_MAX = 960 << 10  # nats-server takes messages of 1 MiB, headers included
PLAIN_BYTES_MAX = 64 << 10  # longer documents are packed; shorter ones can be read with any tool
TEXT_CHARS_MAX = 512  # of comments
AUTHOR_CHARS_MAX = 128
HEALTHY_WITHIN_MS_DEFAULT = 60_000
HEALTHY_WITHIN_MS_MIN, HEALTHY_WITHIN_MS_MAX = 1_000, 3_600_000
SIGNATURE_BYTES = 4 << 10  # a token of a user and what stands around it
SIGNING_CONTEXT = b"millstream-site-config-1"
WAIT_S_MAX = 10.0  # who asks an edge waits for its answer at most so long
_WAIT = re.compile(rb"settle (\d{1,15}) (\d{1,6})\Z")
_LOOK = re.compile(rb"look ([0-9a-f]{16})\Z")
_EDGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")

Kind: TypeAlias = Literal["put", "apply", "rollback"]
"""`apply`: from a folder, whose files are the truth. `rollback`: an older revision once more."""


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who vouches for a revision or a module: a public nkey, its signature of the signed bytes in base64url, and the
    token by which an operator let this key in."""

    key: str
    value: str
    token: str = ""


class Revision(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """One revision of one site's document.

    `revision` counts from 1 for each site, `based_on` is the one that its author had before him (0: none), `digest` is
    that of the document's UTF-8 bytes. `restores` is the older revision that a rollback brings back.
    `healthy_within_ms` is how long the node may take before it goes back by itself.
    """

    edge: str
    revision: int
    based_on: int
    digest: str
    author: str
    time_ns: int
    document: str = ""
    packed: str = ""
    comment: str = ""
    kind: Kind = "put"
    restores: int = 0
    healthy_within_ms: int = HEALTHY_WITHIN_MS_DEFAULT
    rollout: str = ""
    signature: Signature | None = None

    def as_dict(self) -> dict[str, object]:
        """For JSON, without the document."""
        raw: dict[str, object] = msgspec.to_builtins(self)
        return {name: value for name, value in raw.items() if name not in ("document", "packed")}


_decoder = msgspec.json.Decoder(Revision)


def document_digest(text: str) -> str:
    """The digest of a document."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8")).hexdigest()


def is_edge_name(text: str) -> bool:
    """Whether a text can be the name of an edge, and so a key, a file name and a part of a subject."""
    return _EDGE.match(text) is not None


def make_revision(
    edge: str, text: str, *, revision: int, based_on: int, author: str, comment: str, time_ns: int,
    healthy_within_ms: int = HEALTHY_WITHIN_MS_DEFAULT, kind: Kind = "put", restores: int = 0, rollout: str = "",
) -> Revision:  # fmt: skip
    """A revision that is not signed yet. Raises ConfigError for what no site would take."""
    made = Revision(
        edge=edge, revision=revision, based_on=based_on, digest=document_digest(text), author=author, time_ns=time_ns,
        comment=comment, kind=kind, restores=restores,
        healthy_within_ms=healthy_within_ms, rollout=rollout, document=text,
    )  # fmt: skip
    size = len(text.encode("utf-8"))
    if size > DOCUMENT_BYTES_MAX:
        raise _too_large(edge, f"{size} bytes", DOCUMENT_BYTES_MAX)
    if size > PLAIN_BYTES_MAX:
        packed = base64.b64encode(zlib.compress(text.encode("utf-8"), 9)).decode("ascii")
        made = msgspec.structs.replace(made, document="", packed=packed)
    trouble = _trouble(made)
    if trouble is not None:
        raise ConfigError(f"not a revision: {trouble}", where=edge[:80], code="MS-2402")
    size = len(encode_revision(made)) + SIGNATURE_BYTES
    if size > PAYLOAD_BYTES_MAX:
        raise _too_large(edge, f"{size} bytes packed", PAYLOAD_BYTES_MAX)
    return made


def encode_revision(revision: Revision) -> bytes:
    """The value for the bucket."""
    return msgspec.json.encode(revision)


def decode_revision(payload: bytes, edge: str) -> tuple[Revision, str]:
    """A revision and its document. Raises DecodeError: MS-2401 too large, MS-2402 malformed, MS-2403 another site's."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise DecodeError(
            "the revision is too large", where=edge, expected=f"at most {PAYLOAD_BYTES_MAX} bytes",
            got=f"{len(payload)} bytes", code="MS-2401",
        )  # fmt: skip
    try:
        revision = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError("not a revision", where=edge, got=str(error)[:200], code="MS-2402") from error
    if revision.edge != edge:
        raise DecodeError("this revision is for another site", where=edge, got=repr(revision.edge)[:80], code="MS-2403")
    trouble = _trouble(revision)
    if trouble is not None:
        raise DecodeError(f"not a revision: {trouble}", where=edge, code="MS-2402")
    text = document_text(revision)
    if document_digest(text) != revision.digest:
        raise DecodeError("the document does not fit its digest", where=edge, expected=revision.digest, code="MS-2402")
    return revision, text


def document_text(revision: Revision) -> str:
    """The document of a revision. Raises DecodeError, also for one that would unpack to more than a document may be."""
    if not revision.packed:
        return revision.document
    try:
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(base64.b64decode(revision.packed, validate=True), DOCUMENT_BYTES_MAX + 1)
        if len(raw) > DOCUMENT_BYTES_MAX:
            raise DecodeError(
                "the document is too large", where=revision.edge, expected=f"at most {DOCUMENT_BYTES_MAX >> 20} MiB",
                code="MS-2401",
            )  # fmt: skip
        if not unpacker.eof:
            raise DecodeError("the packed document is cut off", where=revision.edge, code="MS-2402")
        return raw.decode("utf-8")
    except (ValueError, zlib.error) as error:
        raise DecodeError(
            "the packed document cannot be unpacked", where=revision.edge, got=str(error)[:120], code="MS-2402"
        ) from error


def signed_bytes(revision: Revision) -> bytes:
    """Exactly what an author signs: a context, then each field as a netstring (``<length>:<bytes>,``), numbers in
    decimal. The document is in it by its digest, so how it is packed does not matter."""
    fields = (
        SIGNING_CONTEXT, revision.edge.encode(), b"%d" % revision.revision, b"%d" % revision.based_on,
        revision.digest.encode(), revision.author.encode(), b"%d" % revision.time_ns, revision.comment.encode(),
        revision.kind.encode(), b"%d" % revision.restores, b"%d" % revision.healthy_within_ms,
        revision.rollout.encode(),
    )  # fmt: skip
    return b"".join(b"%d:%s," % (len(field), field) for field in fields)


# -- what an edge is asked on ``millstream.node.<edge>.config`` ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RevisionWait:
    """Whoever asks wants the report once `revision` has come to its end at the edge, or after `wait_s`."""

    revision: int
    wait_s: float


def payload_mark(payload: bytes) -> str:
    """Tells the values of a site's key apart."""
    return hashlib.sha256(payload).hexdigest()[:16]


def encode_look(payload: bytes) -> bytes:
    """There is a new value of the site's key at the hub, or will be in a moment: this one."""
    return b"look " + payload_mark(payload).encode()


def encode_wait(wait: RevisionWait) -> bytes:
    """See `RevisionWait`. An edge that does not know this takes it as a look, and answers at once."""
    return b"settle %d %d" % (wait.revision, round(wait.wait_s * 1000))


def decode_ask(payload: bytes) -> RevisionWait | str | None:
    """None: the report is asked for. A text: there is something to look for, with its mark; "": whatever it is."""
    if not payload:
        return None
    if (found := _WAIT.match(payload)) is not None:
        return RevisionWait(int(found[1]), min(int(found[2]) / 1000, WAIT_S_MAX))
    found = _LOOK.match(payload)
    return "" if found is None else found[1].decode()


# -- checks -----------------------------------------------------------------------------------------------------------


def _trouble(revision: Revision) -> str | None:
    """What is wrong with the fields, if anything."""
    if not is_edge_name(revision.edge):
        return "edge is no name of an edge"
    if revision.revision < 1 or not 0 <= revision.based_on < revision.revision or revision.time_ns < 0:
        return "revision counts from 1, based_on is an older one, time_ns is UTC"
    if _DIGEST.match(revision.digest) is None:
        return "digest is sha256: and 64 hexadecimal digits"
    if bool(revision.document) and bool(revision.packed):
        return "document and packed exclude one another"
    if not 0 < len(revision.author) <= AUTHOR_CHARS_MAX or not revision.author.isprintable():
        return f"author is 1 to {AUTHOR_CHARS_MAX} characters on one line"
    if len(revision.comment) > TEXT_CHARS_MAX or not revision.comment.replace("\n", " ").isprintable():
        return f"comment is at most {TEXT_CHARS_MAX} characters"
    if not HEALTHY_WITHIN_MS_MIN <= revision.healthy_within_ms <= HEALTHY_WITHIN_MS_MAX:
        return "healthy_within_ms is between a second and an hour"
    if not 0 <= revision.restores < revision.revision or len(revision.rollout) > 64:
        return "restores is an older revision, rollout a name of at most 64 characters"
    return None


def _too_large(edge: str, got: str, bytes_max: int) -> ConfigError:
    return ConfigError(
        "the document is too large", where=edge[:80], expected=f"at most {bytes_max} bytes", got=got,
        next_step="divide the site among several edges", code="MS-2401",
    )  # fmt: skip
