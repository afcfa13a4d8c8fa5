"""Signs what has not been signed before: a token that says the same already is kept, byte by byte."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from millstream.kernel import AuthError
from millstream.protocols.nats_jwt import KeyPair, Token, read_token, sign_claims


class Signer:
    """Signs at `now_s`. `known` are tokens that may be taken over; nobody has to have proven them: a signature of
    Ed25519 has one form only, so what is signed again for the time in a token shows whether it is ours."""

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
        account = str(claims["nats"].get("issuer_account") or key.public)
        known = self._known.get((str(claims["sub"]), account))
        if known is not None and sign_claims(claims, key, _issued_s(known)) == known.text:
            return known.text
        # Later than the one before, also within a second or behind a clock that was set back: servers that have both
        # keep what was signed last.
        issued_s = self._now_s if known is None else max(self._now_s, _issued_s(known) + 1)
        return sign_claims(claims, key, issued_s)


def _issued_s(token: Token) -> int:
    try:
        return token.issued_s
    except AuthError:  # a file that somebody has touched
        return 0
