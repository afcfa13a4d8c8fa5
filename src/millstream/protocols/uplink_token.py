"""What a hub hands to an edge when another key signs for it: the tokens of the boxes that joined as this site. Pure."""

from __future__ import annotations

import msgspec

from millstream.kernel import AuthError, DecodeError
from millstream.protocols.nats_jwt import Token, read_token, verify_token

TOKENS_BYTES_MAX = 256 << 10


class NewTokens(msgspec.Struct, frozen=True):
    """One for each box; each finds its own by its key."""

    tokens: tuple[str, ...]


def tokens_subject(edge: str) -> str:
    """Where an edge is given them."""
    return f"millstream.node.{edge}.uplink_token"


def own_token(payload: bytes, known: Token, now_s: float) -> str:
    """The one that takes the place of `known`: for the same key, account and site. Raises DecodeError, AuthError."""
    try:
        if len(payload) > TOKENS_BYTES_MAX:
            raise ValueError("too long")
        tokens = msgspec.json.decode(payload, type=NewTokens).tokens
    except (msgspec.DecodeError, ValueError) as error:
        raise DecodeError("these are no tokens", got=str(error).lower()[:120], code="MS-2104") from error
    for text in tokens:
        token = read_token(text)
        if token.subject != known.subject:
            continue
        verify_token(text, {token.issuer}, now_s)
        if (token.account, token.tag("site"), token.tag("place")) != (
            known.account, known.tag("site"), known.tag("place"),
        ):  # fmt: skip
            raise AuthError(
                "the new token is for another site", where=known.tag("site"), got=token.tag("site"), code="MS-2104"
            )
        return text
    raise AuthError(
        "none of the new tokens is for this box", where=known.tag("site"), expected=known.subject, code="MS-2104"
    )
