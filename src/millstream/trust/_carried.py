"""The hub's file on its way from one member of a cluster to another: sealed with what the members share, since it holds
keys and the links between boxes may be in clear. Pure."""

from __future__ import annotations

import hashlib

import nacl.exceptions
import nacl.secret

from millstream.kernel import AuthError


def seal_bundle(text: str, secret: str) -> bytes:
    """The sealed bytes: XSalsa20-Poly1305."""
    return bytes(nacl.secret.SecretBox(_key(secret)).encrypt(text.encode("ascii")))


def open_bundle(data: bytes, secret: str) -> str:
    """What was sealed. Raises AuthError (MS-2112) for what another secret sealed, or nobody."""
    try:
        return nacl.secret.SecretBox(_key(secret)).decrypt(data).decode("ascii")
    except (nacl.exceptions.CryptoError, ValueError, TypeError) as error:
        raise AuthError(
            "the operator's file of another member does not open", code="MS-2112",
            next_step="give all members the same `cluster.secret`",
        ) from error  # fmt: skip


def _key(secret: str) -> bytes:
    return hashlib.blake2b(secret.encode(), digest_size=nacl.secret.SecretBox.KEY_SIZE).digest()
