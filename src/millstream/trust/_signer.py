"""Signs what has not been signed before: a token that says the same already is kept, byte by byte."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from millstream.kernel import AuthError
from millstream.protocols.nats_jwt import KeyPair, Token, read_token, sign_claims, verify_token

SIGNED = ("iss", "iat", "jti")
"""What signing adds to claims."""


class Signer:
    """Signs at `now_s`. `known` are tokens that may be taken over; nobody has to have proven them."""

    def __init__(self, now_s: int, known: Iterable[str] = ()) -> None:
        self._now_s = now_s
        self._known: dict[tuple[str, str], Token] = {}
        for text in known:
            try:
                token = read_token(text)
            except AuthError:
                continue
            self._known[token.subject, token.account] = token

    def sign(self, claims: Mapping[str, Any], key: KeyPair) -> str:
        """The token of `claims`: the known one of the same subject and account when `key` signed just these claims."""
        plain = msgspec.json.decode(msgspec.json.encode(claims))
        account = plain["nats"].get("issuer_account") or key.public
        found = self._known.get((plain["sub"], account))
        if found is not None and found.issuer == key.public and _said(found) == plain:
            try:
                return verify_token(found.text, {key.public}, self._now_s).text
            except AuthError:
                pass  # somebody has touched the file
        return sign_claims(claims, key, self._now_s)


def _said(token: Token) -> dict[str, Any]:
    return {name: value for name, value in token.claims.items() if name not in SIGNED}
