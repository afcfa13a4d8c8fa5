"""The subject grammar of the unified namespace, and its mapping to and from ``umh.v1``.

``uns.v1.<enterprise>.<site>[.<area>[.<work_center>[.<work_unit>[.<free
level>...]]]].<_contract>[.<group>...].<name>``

Levels come before the contract, which is the first token that starts with an underscore, so levels may be left out. A
token keeps ``[A-Za-z0-9_-]``; every other byte of the UTF-8 form, and a leading underscore of a name, is written
``=XX`` (upper-case hex; the form of RFC 2045, 6.7), which NATS subjects, KV keys, file names and MQTT topics all
carry unchanged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from millstream.kernel import DecodeError
from millstream.model import AssetPath, TagPath

PREFIX = "uns.v1."
UMH_PREFIX = "umh.v1."
CONTRACTS = ("_tag", "_event", "_state", "_count", "_kpi", "_alarm", "_cmd", "_ack", "_meta", "_ledger")
SUBJECT_LENGTH_MAX = 1024  # bytes; nats-server's max_control_line is 4096 and must hold two subjects and sizes

_PLAIN = re.compile(r"[A-Za-z0-9-][A-Za-z0-9_-]*\Z")
_ESCAPE = re.compile(rb"=([0-9A-F]{2})")
_TOKEN = re.compile(r"(?:[A-Za-z0-9-]|=[0-9A-F]{2})(?:[A-Za-z0-9_-]|=[0-9A-F]{2})*\Z")
_CONTRACT = re.compile(r"_[A-Za-z0-9_-]+\Z")
_KEPT = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
# UMH calls its time-series contract _historian; swapping the two names is its own inverse, so nothing is lost.
_UMH_SWAP = {"_tag": "_historian", "_historian": "_tag"}


def escape_token(name: str) -> str:
    """One name as one token; inverse of `unescape_token`."""
    if _PLAIN.match(name):
        return name
    raw = name.encode("utf-8")
    return "".join(
        chr(byte) if byte in _KEPT and not (index == 0 and byte == 0x5F) else f"={byte:02X}"
        for index, byte in enumerate(raw)
    )


def unescape_token(token: str) -> str:
    """The name that `token` stands for. Raises DecodeError when it is not a canonical token."""
    if not _TOKEN.match(token):
        raise DecodeError("not a subject token", expected="[A-Za-z0-9_-] and =XX", got=repr(token), code="MS-0301")
    if "=" not in token:
        return token
    try:
        name = _ESCAPE.sub(lambda m: bytes([int(m.group(1), 16)]), token.encode("ascii")).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError("subject token is not UTF-8", got=repr(token), code="MS-0301") from error
    if escape_token(name) != token:
        raise DecodeError(
            "subject token escapes what needs no escape", expected=escape_token(name), got=token, code="MS-0301"
        )
    return name


@dataclass(frozen=True, slots=True)
class UnsAddress:
    """A subject taken apart: where, which contract, which names."""

    asset: AssetPath
    contract: str
    names: tuple[str, ...]

    @property
    def tag(self) -> TagPath:
        """The tag path (asset and names), whatever the contract."""
        return TagPath(self.asset, self.names)


def encode_subject(address: UnsAddress) -> str:
    """The subject of `address`. Raises DecodeError when it is too long or the contract is no contract."""
    if not _CONTRACT.match(address.contract):
        raise DecodeError(
            "not a contract", expected="an underscore and [A-Za-z0-9_-]", got=repr(address.contract), code="MS-0301"
        )
    tokens = [escape_token(n) for n in address.asset.levels]
    tokens.append(address.contract)
    tokens += [escape_token(n) for n in address.names]
    subject = PREFIX + ".".join(tokens)
    if len(subject) > SUBJECT_LENGTH_MAX:
        raise DecodeError(
            "subject is too long", expected=f"at most {SUBJECT_LENGTH_MAX} bytes", got=str(len(subject)), code="MS-0301"
        )
    return subject


@lru_cache(maxsize=65536)
def decode_subject(subject: str) -> UnsAddress:
    """Take a ``uns.v1`` subject apart. Raises DecodeError."""
    if not subject.startswith(PREFIX):
        raise DecodeError(
            "not a subject of the namespace", expected=f"{PREFIX}...", got=repr(subject[:64]), code="MS-0301"
        )
    tokens = subject[len(PREFIX) :].split(".")
    at = next((i for i, token in enumerate(tokens) if token.startswith("_")), None)
    if at is None or at == 0 or at == len(tokens) - 1 or not _CONTRACT.match(tokens[at]):
        raise DecodeError(
            "subject has no place, contract and name",
            expected=f"{PREFIX}<enterprise>.<site>...<_contract>...<name>",
            got=repr(subject[:128]),
            code="MS-0301",
        )
    levels = tuple(unescape_token(t) for t in tokens[:at])
    names = tuple(unescape_token(t) for t in tokens[at + 1 :])
    path = TagPath(AssetPath(levels), names)
    return UnsAddress(path.asset, tokens[at], path.names)


def tag_subject(path: TagPath, contract: str = "_tag") -> str:
    """The subject of a tag."""
    return encode_subject(UnsAddress(path.asset, contract, path.names))


def to_umh(subject: str) -> str:
    """``uns.v1...`` as ``umh.v1...``; `from_umh` gives it back to the letter."""
    return _swap(subject, PREFIX, UMH_PREFIX)


def from_umh(subject: str) -> str:
    """``umh.v1...`` as ``uns.v1...``; `to_umh` gives it back to the letter."""
    return _swap(subject, UMH_PREFIX, PREFIX)


def _swap(subject: str, old: str, new: str) -> str:
    if not subject.startswith(old):
        raise DecodeError(
            "not a subject of this convention", expected=f"{old}...", got=repr(subject[:64]), code="MS-0301"
        )
    tokens = subject[len(old) :].split(".")
    at = next((i for i, token in enumerate(tokens) if token.startswith("_")), None)
    if at is None:
        raise DecodeError("subject has no contract", got=repr(subject[:128]), code="MS-0301")
    tokens[at] = _UMH_SWAP.get(tokens[at], tokens[at])
    return new + ".".join(tokens)


def to_topic(subject: str) -> str:
    """The MQTT topic of a subject: the same tree with ``/``."""
    return subject.replace(".", "/")
