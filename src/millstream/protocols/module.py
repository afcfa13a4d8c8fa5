"""Code that travels: flows' modules and releases of Millstream, by digest, in an object store of NATS (ADR-20).

The bucket (stream ``OBJ_modules``) has an object for each module, named by the digest of its bytes. What its author
says of it, the manifest, is signed and lies in the object's metadata, so any tool of NATS can list and fetch modules.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from millstream.kernel import DecodeError
from millstream.protocols.site_config import AUTHOR_CHARS_MAX, Signature

WASM = "wasm"
"""The type of flows whose step is a WebAssembly module."""
MODEL = "model"
"""The type of flows that score with a trained model, an ONNX file."""
RELEASE: Literal["release"] = "release"
"""The kind of a module that is Millstream itself, for the command ``update``."""
MODULE_BYTES_MAX = 16 << 20
WHEEL_BYTES_MAX = 64 << 20
RELEASE_BYTES_MAX = 128 << 20
"""Of Millstream itself with what it needs and a box lacks."""
MODULE_MEMORY_BYTES = 16 << 20
"""Of one step, when nothing is said."""
MODULE_FUEL = 100_000_000
MODULE_TIME_S = 30.0
"""Instructions of one step, when nothing is said: about a tenth of a second."""
BUCKET = "modules"
MODULES, MODULES_PREFIX = f"OBJ_{BUCKET}", f"$O.{BUCKET}."
CHUNK_BYTES = 32 << 10  # one answer over a slow link
INFO_BYTES_MAX = 64 << 10
FILE_CHARS_MAX = 120
SIGNING_CONTEXT = b"millstream-module-1"
METADATA_KEY, MORE_KEY = "millstream", "millstream-more"
VOUCHERS_COUNT_MAX = 16
"""Authors of one module; each of them signed a manifest of the same bytes."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_NUID = re.compile(r"[A-Za-z0-9]{1,64}\Z")

ModuleKind: TypeAlias = Literal["wasm", "wheel", "onnx", "release"]


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """What the author of a module says of it. `digest` is that of its bytes, `file` what it was called."""

    digest: str
    size_bytes: int
    kind: ModuleKind
    file: str
    author: str
    time_ns: int
    signature: Signature | None = None

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        raw: dict[str, object] = msgspec.to_builtins(self)
        return {**raw, "signature": None if self.signature is None else self.signature.key}


class StoredModule(msgspec.Struct, frozen=True):
    """A module as it lies in the bucket: in so many chunks below a subject of its own. The same bytes may have been
    pushed by several authors, one for these sites, another for those: each has a manifest, the oldest first."""

    manifests: tuple[Manifest, ...]
    nuid: str
    chunks_count: int

    @property
    def manifest(self) -> Manifest:
        """The oldest."""
        return self.manifests[0]

    def of_author(self, author: str, key: str) -> Manifest | None:
        """What an author has said of it; `key` is "" where nobody signs."""
        return next((m for m in self.manifests if (m.author, signer_of(m)) == (author, key)), None)


class _Info(msgspec.Struct):
    name: str
    nuid: str
    size: int
    chunks: int
    digest: str = ""
    deleted: bool = False
    metadata: dict[str, str] = {}


def module_trouble(type: str | None, python: str | None, module: str | None) -> str | None:
    """What does not fit together in the section of a flow; None: nothing."""
    is_dotted = python is not None and not python.rpartition(":")[0].endswith(".py")
    if type in (WASM, MODEL) and module is None:
        return f"a flow of type {type!r} needs a 'module'"
    if is_dotted and module is None:
        return "'python' names a file.py:flow, or with 'module' what is in a wheel"
    if module is not None and type not in (WASM, MODEL) and not is_dotted:
        return "'module' is for the types 'wasm' and 'model', or for 'python: package.module:flow'"
    return None


def is_module_digest(text: str) -> bool:
    """Whether a text names a module by its bytes."""
    return _DIGEST.match(text) is not None


def module_digest(data: bytes) -> str:
    """``sha256:`` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def size_max_of(kind: ModuleKind) -> int:
    """The most bytes that a module of a kind may have."""
    return {"wheel": WHEEL_BYTES_MAX, RELEASE: RELEASE_BYTES_MAX}.get(kind, MODULE_BYTES_MAX)


def signed_manifest(manifest: Manifest) -> bytes:
    """Exactly what an author signs: a context, then each field as a netstring."""
    fields = (
        SIGNING_CONTEXT, manifest.digest.encode(), b"%d" % manifest.size_bytes, manifest.kind.encode(),
        manifest.file.encode(), manifest.author.encode(), b"%d" % manifest.time_ns,
    )  # fmt: skip
    return b"".join(b"%d:%s," % (len(field), field) for field in fields)


def info_subject(digest: str) -> str:
    """Where what the bucket knows of a module is stored."""
    return f"{MODULES_PREFIX}M.{base64.urlsafe_b64encode(digest.encode()).decode()}"


def info_name(subject: str) -> str:
    """The digest in a subject of `info_subject`; "" for one that is none."""
    try:
        return base64.urlsafe_b64decode(subject.removeprefix(f"{MODULES_PREFIX}M.")).decode()
    except ValueError:
        return ""


def chunks_subject(nuid: str) -> str:
    """Where the chunks of a module are stored, in order."""
    return f"{MODULES_PREFIX}C.{nuid}"


def signer_of(manifest: Manifest) -> str:
    """The key that signed a manifest; "": none did."""
    return manifest.signature.key if manifest.signature is not None else ""


def with_manifest(before: Sequence[Manifest], manifest: Manifest) -> tuple[Manifest, ...]:
    """The manifests of a module once another author has pushed it: in the stead of what the same key said, and of what
    nobody signed. One that nobody signed stands alone. The oldest go when there are too many."""
    key = signer_of(manifest)
    kept = [m for m in before if key and signer_of(m) not in ("", key)]
    return (*kept[-(VOUCHERS_COUNT_MAX - 1) :], manifest)


def shown_module(manifests: Sequence[Manifest]) -> dict[str, Any] | None:
    """What is there of a module by the word of its authors, for the audit; None: nothing."""
    if not manifests:
        return None
    first = manifests[0]
    return {
        "file": first.file, "kind": first.kind, "size_bytes": first.size_bytes,
        "authors": [one.author for one in manifests],
    }  # fmt: skip


def manifest_trouble(manifest: Manifest) -> str | None:
    """What is wrong with the fields of a manifest; None: nothing."""
    if not is_module_digest(manifest.digest) or manifest.time_ns < 0:
        return "digest is sha256: and 64 hexadecimal digits, time_ns is UTC"
    if not 0 < len(manifest.file) <= FILE_CHARS_MAX or not manifest.file.isprintable():
        return f"file is a name of at most {FILE_CHARS_MAX} characters"
    if not 0 < len(manifest.author) <= AUTHOR_CHARS_MAX or not manifest.author.isprintable():
        return f"author is 1 to {AUTHOR_CHARS_MAX} characters on one line"
    return None


def encode_info(manifests: Sequence[Manifest], nuid: str, chunks_count: int, mtime: str) -> bytes:
    """The object's description, in the form of ADR-20. `mtime` is RFC 3339."""
    manifest, *more = manifests
    metadata = {METADATA_KEY: msgspec.json.encode(manifest).decode()}
    if more:
        metadata[MORE_KEY] = msgspec.json.encode(more).decode()
    raw = bytes.fromhex(manifest.digest.removeprefix("sha256:"))
    return msgspec.json.encode({
        "name": manifest.digest, "description": manifest.file, "bucket": BUCKET, "nuid": nuid,
        "size": manifest.size_bytes, "mtime": mtime, "chunks": chunks_count,
        "digest": "SHA-256=" + base64.urlsafe_b64encode(raw).decode(),
        "options": {"max_chunk_size": CHUNK_BYTES},
        "metadata": metadata,
    })  # fmt: skip


def decode_info(payload: bytes, digest: str) -> StoredModule | None:
    """What the bucket has of a module; None when it was removed. Raises DecodeError (MS-2441)."""
    try:
        if len(payload) > INFO_BYTES_MAX:
            raise ValueError("too long")
        info = msgspec.json.decode(payload, type=_Info)
        if info.deleted:
            return None
        first = msgspec.json.decode(info.metadata.get(METADATA_KEY, ""), type=Manifest)
        more = msgspec.json.decode(info.metadata.get(MORE_KEY, "[]"), type=list[Manifest])
        manifests = (first, *more[: VOUCHERS_COUNT_MAX - 1])
        for manifest in manifests:
            if manifest.digest != digest or info.name != digest or not _NUID.match(info.nuid):
                raise ValueError("it is of another module")
            if not 0 < manifest.size_bytes <= size_max_of(manifest.kind) or info.size != manifest.size_bytes:
                raise ValueError(f"{manifest.size_bytes} bytes, at most {size_max_of(manifest.kind)}")
        if not 0 < info.chunks <= first.size_bytes:
            raise ValueError(f"{info.chunks} chunks")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DecodeError(
            "what the hub has of a module is none", where=digest[:80], got=str(error)[:120], code="MS-2441"
        ) from error
    return StoredModule(manifests, info.nuid, info.chunks)
