"""A support bundle: what somebody who helps needs to see of a node, as a zip, and no secret in it.

Two nets hold secrets back: every value that this node knows as a secret (what lies in ``secrets``, the password in
``node.json``, what the configuration refers to) is blacked out wherever it stands, and so is whatever looks like one:
a password in an address, the value of a key that is named like one, a private key, an NKey seed or a JWT.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from millstream.kernel import ConfigError, PlantError
from millstream.protocols.command import is_id
from millstream.sdk import SecretRef

FOLDER = "bundles"
KEPT_COUNT = 3  # the newest
LOG_BYTES_MAX = 2 << 20  # the end of each
LOGS_COUNT_MAX = 6
BUNDLE_BYTES_MAX = 32 << 20
SECRET_CHARS_MIN = 6  # a shorter one would black out half of the text
BLACK = "***"
_SHAPES = (
    (re.compile(r"(?<=://)[^/@\s\"']*(?=@)"), BLACK),
    (
        re.compile(
            r"(?i)([\"']?\b[a-z_]*(?:passw(?:or)?d|secret|token|api_?key|private_?key|credential)s?[\"']?\s*[:=]\s*)"
            r"(?![\s\"']*[{\[])(\"[^\"\n]*\"|'[^'\n]*'|[^\s,}\]]+)"
        ),
        rf'\1"{BLACK}"',
    ),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL), BLACK),
    (re.compile(r"\bS[AOUNCX][A-Z2-7]{54,58}\b"), BLACK),
    (re.compile(r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}"), BLACK),
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A finished one."""

    path: Path
    size_bytes: int
    sha256: str


def bundle_path(data_dir: Path, id: str) -> Path:
    """Where the bundle of a command lies. Raises PlantError for what is no id."""
    if not is_id(id):
        raise PlantError("this is no id of a command", got=repr(id)[:80], code="MS-2312")
    return data_dir / FOLDER / f"{id}.zip"


def make_bundle(data_dir: Path, id: str, documents: Mapping[str, Any], known: Iterable[str]) -> Bundle:
    """Write the zip (blocking): `documents` as JSON by name, and the ends of the server's logs. `known` are secrets
    beside those below `data_dir`. Raises PlantError when the disk refuses, or it grows beyond its bound."""
    path = bundle_path(data_dir, id)
    part = path.with_suffix(".part")
    hidden = sorted({*known, *_own_secrets(data_dir)}, key=len, reverse=True)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with open(part, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as raw:
            with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as file:
                for name, document in documents.items():
                    file.writestr(f"{name}.json", scrub(json.dumps(document, indent=1, default=str), hidden))
                for log in sorted((data_dir / "server").glob("*.log*"))[:LOGS_COUNT_MAX]:
                    file.writestr(f"logs/{log.name}", scrub(_end_of(log), hidden))
                    if raw.tell() > BUNDLE_BYTES_MAX:
                        raise PlantError(
                            "the bundle grows too large", expected=f"{BUNDLE_BYTES_MAX} bytes", code="MS-2312"
                        )
            raw.flush()
            os.fsync(raw.fileno())
        part.replace(path)
        _forget_old(path.parent)
        content = path.read_bytes()
    except OSError as error:
        _drop(part)
        raise PlantError(
            "the bundle cannot be written", where=str(path.parent), got=(error.strerror or str(error)).lower(),
            code="MS-2312",
        ) from error  # fmt: skip
    except PlantError:
        _drop(part)
        raise
    return Bundle(path, len(content), hashlib.sha256(content).hexdigest())


def scrub(text: str, hidden: Iterable[str]) -> str:
    """The text without these secrets and without what looks like one."""
    for secret in hidden:
        if len(secret) >= SECRET_CHARS_MIN:
            text = text.replace(secret, BLACK).replace(json.dumps(secret)[1:-1], BLACK)
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    return text


def _own_secrets(data_dir: Path) -> set[str]:
    found: set[str] = set()
    for file in (data_dir / "secrets").rglob("*"):
        if file.is_file():
            found.add(file.read_text(encoding="utf-8", errors="replace").strip())
    try:
        node = json.loads((data_dir / "node.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return found
    return found | {v for k, v in node.items() if isinstance(v, str) and "password" in k}


def referred_secrets(model: BaseModel) -> set[str]:
    """The values of all secrets that a configuration refers to (blocking); what cannot be read is left out."""
    found: set[str] = set()
    waiting: list[Any] = [model]
    while waiting:
        item = waiting.pop()
        if isinstance(item, SecretRef):
            try:
                found.add(item.resolve())
            except (ConfigError, OSError):
                continue
        elif isinstance(item, BaseModel):
            waiting += [getattr(item, name) for name in type(item).model_fields]
        elif isinstance(item, Mapping):
            waiting += item.values()
        elif isinstance(item, list | tuple):
            waiting += item
    return found


def _end_of(log: Path) -> str:
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LOG_BYTES_MAX))
        return file.read(LOG_BYTES_MAX).decode("utf-8", "replace")


def _drop(part: Path) -> None:
    with suppress(OSError):  # the disk that refused the one may refuse the other
        part.unlink(missing_ok=True)


def _forget_old(folder: Path) -> None:
    kept = sorted(folder.glob("*.zip"), key=lambda file: file.stat().st_mtime_ns)
    for file in kept[:-KEPT_COUNT]:
        file.unlink(missing_ok=True)
    for file in folder.glob("*.part"):
        file.unlink(missing_ok=True)
