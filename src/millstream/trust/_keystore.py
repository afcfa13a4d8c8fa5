"""The operator's file: encrypted with a passphrase, changed by one process at a time, never half written."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import nacl.exceptions
import nacl.pwhash
import nacl.secret
import nacl.utils

from millstream.bus import write_private
from millstream.kernel import AuthError, ConfigError
from millstream.trust._issue import complete_keys
from millstream.trust._state import Trust

PASSPHRASE_LENGTH_MIN = 12
FILE_BYTES_MAX = 64 << 20
_SALT_BYTES = nacl.pwhash.argon2id.SALTBYTES


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """What is on disk. Argon2id (RFC 9106) makes the key, XSalsa20-Poly1305 seals."""

    format: str
    opslimit: int
    memlimit: int
    salt: bytes
    box: bytes


def seal(trust: Trust, passphrase: str) -> bytes:
    """The file's bytes. Raises ConfigError for a passphrase that is too short."""
    if len(passphrase) < PASSPHRASE_LENGTH_MIN:
        raise ConfigError(
            "the passphrase is too short", expected=f"at least {PASSPHRASE_LENGTH_MIN} characters",
            got=f"{len(passphrase)}", code="MS-2101",
        )  # fmt: skip
    salt = nacl.utils.random(_SALT_BYTES)
    opslimit, memlimit = nacl.pwhash.argon2id.OPSLIMIT_MODERATE, nacl.pwhash.argon2id.MEMLIMIT_INTERACTIVE
    key = nacl.pwhash.argon2id.kdf(
        nacl.secret.SecretBox.KEY_SIZE, passphrase.encode(), salt, opslimit=opslimit, memlimit=memlimit
    )
    box = nacl.secret.SecretBox(key).encrypt(msgspec.json.encode(trust))
    sealed = Sealed(format="millstream-keys-1", opslimit=opslimit, memlimit=memlimit, salt=salt, box=bytes(box))
    return msgspec.json.encode(sealed)


def unseal(data: bytes, passphrase: str, *, where: str) -> Trust:
    """What was sealed. Raises ConfigError for what is no such file, AuthError for another passphrase."""
    try:
        sealed = msgspec.json.decode(data, type=Sealed)
    except msgspec.DecodeError as error:
        raise ConfigError("not a key store", where=where, got=str(error).lower(), code="MS-2101") from error
    if sealed.format != "millstream-keys-1" or sealed.opslimit > 64 or sealed.memlimit > 1 << 30:
        raise ConfigError("not a key store of this version", where=where, got=sealed.format[:40], code="MS-2101")
    try:
        key = nacl.pwhash.argon2id.kdf(
            nacl.secret.SecretBox.KEY_SIZE, passphrase.encode(), sealed.salt,
            opslimit=sealed.opslimit, memlimit=sealed.memlimit,
        )  # fmt: skip
        plain = nacl.secret.SecretBox(key).decrypt(sealed.box)
    except (nacl.exceptions.CryptoError, ValueError) as error:
        raise AuthError(
            "the key store does not open", where=where, next_step="give the passphrase that it was made with",
            code="MS-2102",
        ) from error  # fmt: skip
    try:
        return msgspec.json.decode(plain, type=Trust)
    except msgspec.DecodeError as error:
        raise ConfigError(
            "a key store of another version", where=where, got=str(error).lower(), code="MS-2101"
        ) from error


def load_keys(path: Path, passphrase: str) -> Trust:
    """Read and open. Raises ConfigError or AuthError."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX)
    except FileNotFoundError as error:
        raise ConfigError(
            "no key store here", where=str(path), next_step="make one with `millstream operator init`", code="MS-2101"
        ) from error
    except OSError as error:
        raise ConfigError("the key store cannot be read", where=str(path), got=str(error), code="MS-2101") from error
    return unseal(data, passphrase, where=str(path))


@contextlib.contextmanager
def changing_keys(path: Path, passphrase: str) -> Iterator[Trust]:
    """Open, let the caller change it, and store it with the next serial; nothing is stored when the block raises."""
    lock = path.with_name(path.name + ".lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        trust = load_keys(path, passphrase)
        complete_keys(trust)
        yield trust
        trust.serial += 1
        save_keys(path, trust, passphrase)
    finally:
        os.close(descriptor)


def save_keys(path: Path, trust: Trust, passphrase: str) -> None:
    """Write, synced, readable by the owner only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(path, seal(trust, passphrase).decode("ascii"))
