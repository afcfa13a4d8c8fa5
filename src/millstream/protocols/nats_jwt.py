"""JSON Web Tokens of NATS (ADR-14): operator, account and user claims, signed with nkeys, and creds files. Pure.

A token is ``header.claims.signature``, each base64 without padding; the signature is Ed25519 over the first two.
`iss` is the public key that signed, `sub` the one that the token speaks of. Python's packages for them do not write
account signing keys in the form that nats-server reads (tried), so the few lines are here, on ``nkeys``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import nacl.exceptions
import nacl.signing
import nkeys

from millstream.kernel import AuthError, ConfigError

KeyKind = Literal["operator", "account", "user"]
CLAIMS_BYTES_MAX = 1 << 20
_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_PREFIX = {
    "operator": nkeys.PREFIX_BYTE_OPERATOR,
    "account": nkeys.PREFIX_BYTE_ACCOUNT,
    "user": nkeys.PREFIX_BYTE_USER,
}
_SEED_BYTES = 32
_PUBLIC_BYTES = 35  # kind, key, checksum
_JWT_MARK, _SEED_MARK = "NATS USER JWT", "USER NKEY SEED"


class KeyPair:
    """An Ed25519 key in NATS' notation. The seed never shows in a repr."""

    def __init__(self, seed: str) -> None:
        try:
            prefix, raw = _seed_parts(seed)
        except (ValueError, binascii.Error) as error:
            raise ConfigError("not the seed of a key", expected="an nkey seed, such as SU…") from error
        self._key = nacl.signing.SigningKey(raw)
        body = bytes((prefix,)) + self._key.verify_key.encode()
        text = base64.b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little"))
        self.public = text.rstrip(b"=").decode("ascii")
        self.seed = seed

    @classmethod
    def make(cls, kind: KeyKind, entropy: bytes) -> KeyPair:
        """A key from 32 random bytes."""
        if len(entropy) != _SEED_BYTES:
            raise ValueError(f"a key takes {_SEED_BYTES} bytes of entropy, got {len(entropy)}")
        return cls(nkeys.encode_seed(entropy, _PREFIX[kind]).decode("ascii"))

    @property
    def kind(self) -> str:
        """``operator``, ``account`` or ``user``."""
        return key_kind(self.public)

    def sign(self, data: bytes) -> bytes:
        """64 bytes."""
        return bytes(self._key.sign(data).signature)

    def __repr__(self) -> str:
        return f"KeyPair({self.public})"


def _seed_parts(seed: str) -> tuple[int, bytes]:
    """What a seed is for, and its 32 bytes. An operator signs with thousands of keys at once, so this is not `nkeys`,
    which takes twice as long; the form is the same. Raises ValueError."""
    raw = base64.b32decode(seed.encode("ascii") + b"=" * (-len(seed) % 8))
    if len(raw) != _SEED_BYTES + 4 or int.from_bytes(raw[-2:], "little") != binascii.crc_hqx(raw[:-2], 0):
        raise ValueError("wrong length or checksum")
    prefix = (raw[0] & 7) << 5 | (raw[1] & 248) >> 3
    if raw[0] & 248 != nkeys.PREFIX_BYTE_SEED or prefix not in _PREFIX.values():
        raise ValueError("not a seed")
    return prefix, raw[2:-2]


def key_kind(public: str) -> str:
    """What a public key is for, by its first letter; "" for anything else."""
    return {"O": "operator", "A": "account", "U": "user"}.get(public[:1], "")


def is_public_key(text: str, kind: KeyKind) -> bool:
    """True for a well-formed public key of this kind, checksum included."""
    try:
        return key_kind(text) == kind and bool(_verifier(text))
    except AuthError:
        return False


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was read; `claims` are its middle part. Reading alone proves nothing: see `verify`."""

    text: str
    claims: Mapping[str, Any]

    @property
    def subject(self) -> str:
        """The public key that the token speaks of."""
        return str(self.claims.get("sub", ""))

    @property
    def issuer(self) -> str:
        """The public key that signed."""
        return str(self.claims.get("iss", ""))

    @property
    def account(self) -> str:
        """Of a user: the account, whichever of its keys signed."""
        return str(self.nats.get("issuer_account") or self.issuer)

    @property
    def issued_s(self) -> int:
        """Unix seconds."""
        return _number(self.claims.get("iat")) or 0

    @property
    def expires_s(self) -> int | None:
        """Unix seconds; None: never."""
        return _number(self.claims.get("exp")) or None

    @property
    def nats(self) -> Mapping[str, Any]:
        """The part that is NATS' own."""
        nats = self.claims.get("nats")
        return nats if isinstance(nats, dict) else {}

    def tag(self, name: str) -> str | None:
        """The value of the tag ``name:value``, of several the first."""
        return next(iter(self.tags(name)), None)

    def tags(self, name: str) -> list[str]:
        """The values of a tag that may stand several times."""
        parts = (str(tag).partition(":") for tag in self.nats.get("tags") or ())
        return [value for key, mark, value in parts if mark and key == name]


def sign_claims(claims: Mapping[str, Any], key: KeyPair, issued_s: int) -> str:
    """The token of `claims`, signed by `key` at `issued_s` (Unix seconds); `jti` is the digest that NATS asks for."""
    body = {**claims, "iss": key.public, "iat": issued_s, "jti": ""}
    digest = hashlib.new("sha512_256", _dumps(body)).digest()
    body["jti"] = base64.b32encode(digest).rstrip(b"=").decode("ascii")
    signed = f"{_encode(_dumps(_HEADER))}.{_encode(_dumps(body))}"
    return f"{signed}.{_encode(key.sign(signed.encode('ascii')))}"


def read_token(text: str, *, size_max: int = CLAIMS_BYTES_MAX) -> Token:
    """The claims of a token, unproven. Raises AuthError."""
    parts = text.strip().split(".")
    if len(parts) != 3 or len(text) > size_max:
        raise AuthError(
            "not a token", expected=f"three parts with dots between, at most {size_max} bytes", code="MS-2104"
        )
    try:
        header = msgspec.json.decode(_decode(parts[0]))
        claims = msgspec.json.decode(_decode(parts[1]))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise AuthError("not a token", got=str(error).lower(), code="MS-2104") from error
    if not isinstance(header, dict) or header.get("alg") != _HEADER["alg"] or not isinstance(claims, dict):
        raise AuthError("not a token of NATS", expected=f"alg {_HEADER['alg']}", code="MS-2104")
    return Token(text.strip(), claims)


def verify_token(text: str, issuers: AbstractSet[str], now_s: float, *, size_max: int = CLAIMS_BYTES_MAX) -> Token:
    """A token that one of `issuers` signed and that is valid at `now_s`. Raises AuthError (MS-2104)."""
    return verified(read_token(text, size_max=size_max), issuers, now_s)


def verified(token: Token, issuers: AbstractSet[str], now_s: float) -> Token:
    """The same for a token that was read already. Raises AuthError (MS-2104)."""
    if token.issuer not in issuers:
        raise AuthError("a token of somebody else", got=f"signed by {token.issuer or 'nobody'}", code="MS-2104")
    signed, _, signature = token.text.rpartition(".")
    verify_signature(token.issuer, signed.encode("utf-8"), _decode(signature))
    if token.expires_s is not None and now_s >= token.expires_s:
        raise AuthError("the token has expired", got=f"{now_s - token.expires_s:.0f} s ago", code="MS-2104")
    return token


def verify_signature(public: str, data: bytes, signature: bytes) -> None:
    """Raises AuthError (MS-2104) unless the holder of `public` signed `data`."""
    try:
        _verifier(public).verify(data, signature)
    except (nacl.exceptions.CryptoError, ValueError, TypeError) as error:
        raise AuthError("a signature does not fit", where=public, code="MS-2104") from error


def format_creds(token: str, seed: str) -> str:
    """The text of a creds file, as NATS' own tools read it."""
    return "".join(
        f"-----BEGIN {mark}-----\n{text}\n------END {mark}------\n\n"
        for mark, text in ((_JWT_MARK, token), (_SEED_MARK, seed))
    )


def parse_creds(text: str, *, where: str) -> tuple[str, KeyPair]:
    """Token and key of a creds file. Raises ConfigError."""
    lines = [line.strip() for line in text.splitlines()]
    marks = [i for i, line in enumerate(lines) if line.startswith("-----BEGIN")]
    if len(marks) != 2 or marks[-1] + 1 >= len(lines):
        raise ConfigError("not a creds file", where=where, expected="a user JWT and an nkey seed")
    return lines[marks[0] + 1], KeyPair(lines[marks[1] + 1])


def _verifier(public: str) -> nacl.signing.VerifyKey:
    """Raises AuthError for what is no public key."""
    try:
        raw = base64.b32decode(public + "=" * (-len(public) % 8))
        if len(raw) != _PUBLIC_BYTES or int.from_bytes(raw[-2:], "little") != binascii.crc_hqx(raw[:-2], 0):
            raise ValueError("wrong length or checksum")
    except (binascii.Error, ValueError) as error:
        raise AuthError("not a public key", got=public[:64], code="MS-2104") from error
    return nacl.signing.VerifyKey(raw[1:-2])


def _number(value: object) -> int | None:
    """A time of a token. Raises AuthError for what is none: a token whose end cannot be read has none to trust."""
    if value is None or isinstance(value, int):
        return value
    raise AuthError("a token with a time that is none", got=repr(value)[:40], code="MS-2104")


def _dumps(value: object) -> bytes:
    return msgspec.json.encode(value)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise AuthError("not a token", got=str(error).lower(), code="MS-2104") from error
    if _encode(data) != text:  # bits that nothing holds: one signature has one text
        raise AuthError("not a token", got="base64 that is not canonical", code="MS-2104")
    return data
