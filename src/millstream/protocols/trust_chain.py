"""Who may vouch for what an edge runs, from the operator down: what a hub hands on to its edges. Pure.

An edge pins the operator's key and its tenant's account of people when it joins. What it needs beside is two tokens,
and both are signed: the operator's own, which names the key that signs for it, and that of the account, which names the
roles' keys and, as tags ``author:<key>``, the people whom the operator let sign. A hub can hold them back; it cannot
change them, and the keys that it holds itself make no author. An author of some paths only has a tag
``author:<key>:<place>`` for each.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from millstream.kernel import AuthError
from millstream.model import AssetPath
from millstream.protocols.below import EVERYWHERE, place_subject
from millstream.protocols.nats_jwt import KeyPair, Token, read_token, verify_signature, verify_token
from millstream.protocols.site_config import Signature

CHAIN_STREAM, CHAIN_SUBJECT = "KV_trust", "$KV.trust.chain"
CHAIN_BYTES_MAX = 2 << 20
AUTHOR_TAG = "author"
AUTHOR_ROLES = ("engineer", "commander")
BELOW_ROLE = " below"
"""Behind the name of a role: the scope of people who see some paths only."""


def author_tags(public: str, paths: Sequence[str]) -> list[str]:
    """How an account's token says that somebody may sign, with `paths` only for sites that lie there."""
    return [f"{AUTHOR_TAG}:{public}:{place_subject(path)}" for path in paths] or [f"{AUTHOR_TAG}:{public}"]


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """What a box learned when it joined, and holds on to."""

    tenant: str
    site: str
    operator_public: str
    plant_public: str
    people_public: str


class Chain(msgspec.Struct, frozen=True):
    """The tokens of the operator and of a tenant's account of people."""

    operator_token: str
    people_token: str


class Author(msgspec.Struct, frozen=True):
    """Who signed, by the operator's word."""

    name: str
    key: str
    role: str


def encode_chain(chain: Chain) -> bytes:
    """As a hub stores it."""
    return msgspec.json.encode(chain)


class TrustChain:
    """A chain that was proven. Raises AuthError (MS-2104) for one that the pinned operator did not sign, or that is of
    another tenant."""

    def __init__(self, chain: Chain, pin: Pin, now_s: float) -> None:
        operator = verify_token(chain.operator_token, {pin.operator_public}, now_s)
        keys = operator.nats.get("signing_keys")
        if operator.subject != pin.operator_public or not isinstance(keys, list):
            raise AuthError("the operator's token is somebody else's", code="MS-2104")
        self._people = verify_token(chain.people_token, {str(key) for key in keys}, now_s)
        if self._people.subject != pin.people_public:
            raise AuthError(
                "these are the people of another tenant", expected=pin.people_public, got=self._people.subject,
                code="MS-2104",
            )  # fmt: skip
        self.chain = chain
        self.issued_s = self._people.issued_s
        """When the operator signed it: an older one never takes the place of a newer."""

    def author(self, signature: Signature | None, data: bytes, time_ns: int, place: str | None = None) -> Author:
        """Who signed `data` for the site at `place`, such as ``acme/cologne``, at `time_ns` as the signature's data
        says. Raises AuthError (MS-2104)."""
        return self._author(signature, data, time_ns, lambda key: self._check_place(key, place))

    def author_near(self, signature: Signature | None, data: bytes, time_ns: int, root: AssetPath | None) -> Author:
        """Who signed `data`, when that is an author of something that lies below `root` or holds it (None: of
        anything). Raises AuthError (MS-2104)."""
        return self._author(signature, data, time_ns, lambda key: self._check_near(key, root))

    def _author(self, signature: Signature | None, data: bytes, time_ns: int, check: Callable[[str], None]) -> Author:
        if signature is None:
            raise AuthError("nobody signed it", expected="a signature of an engineer", code="MS-2104")
        token = read_token(signature.token)
        role = self._role_of(token.issuer)
        if role not in AUTHOR_ROLES:
            raise AuthError(
                "who signed it may not", expected=" or ".join(AUTHOR_ROLES), got=role or "nobody of this tenant",
                code="MS-2104",
            )  # fmt: skip
        signed_s = time_ns / 1e9
        verify_token(signature.token, {token.issuer}, signed_s)
        if token.subject != signature.key or token.account != self._people.subject:
            raise AuthError("the signature is not of the key that the token is for", code="MS-2104")
        if signed_s < token.issued_s:
            raise AuthError("it was signed before its author was let in", code="MS-2104")
        check(signature.key)
        verify_signature(signature.key, data, _decoded(signature.value))
        return Author(str(token.claims.get("name", "")), signature.key, role)

    def _role_of(self, issuer: str) -> str:
        for scope in self._people.nats.get("signing_keys") or ():
            if isinstance(scope, dict) and scope.get("key") == issuer:
                return str(scope.get("role", "")).removesuffix(BELOW_ROLE)
        return ""

    def places_of(self, key: str) -> tuple[str, ...]:
        """Where a key signs by the operator's word, as subjects; `EVERYWHERE` alone: in the whole tenant. Raises
        AuthError (MS-2104) for a key that does not."""
        tags = [str(tag) for tag in self._people.nats.get("tags") or ()]
        if f"{AUTHOR_TAG}:{key}" in tags:
            return (EVERYWHERE,)
        mine = f"{AUTHOR_TAG}:{key}:"
        places = [tag.removeprefix(mine) for tag in tags if tag.startswith(mine)]
        if not places:
            raise AuthError(
                "who signed it is none of the operator's authors", got=key, code="MS-2104",
                next_step="locked out since, or a token that the operator did not make",
            )  # fmt: skip
        return tuple(places)

    def _check_place(self, key: str, place: str | None) -> None:
        """Raise AuthError unless this key signs for the whole tenant, or for this place."""
        places = self.places_of(key)
        if places == (EVERYWHERE,):
            return
        here = None if place is None else place_subject(place) + "."
        if here is None or not any(here.startswith(f"{each}.") for each in places):
            raise AuthError(
                "who signed it is no author here", where=place, expected=", ".join(places[:8]), code="MS-2104"
            )

    def _check_near(self, key: str, root: AssetPath | None) -> None:
        """Raise AuthError unless what this key signs for has something in common with what lies below `root`."""
        places = self.places_of(key)
        here = place_subject(str(root)) + "." if root is not None else f"{EVERYWHERE}."
        if not any(here.startswith(f"{each}.") or f"{each}.".startswith(here) for each in places):
            raise AuthError(
                "who signed it is no author here", where=str(root), expected=", ".join(places[:8]), code="MS-2104"
            )


def sign(data: bytes, token: str, key: KeyPair) -> Signature:
    """The signature of who holds `key` and was let in by `token`."""
    value = base64.urlsafe_b64encode(key.sign(data)).rstrip(b"=").decode("ascii")
    return Signature(key.public, value, token)


def read_chain(payload: bytes, pin: Pin, now_s: float) -> TrustChain:
    """What a hub hands on. Raises AuthError."""
    try:
        if len(payload) > CHAIN_BYTES_MAX:
            raise ValueError("too long")
        chain = msgspec.json.decode(payload, type=Chain)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise AuthError("not a chain of trust", got=str(error)[:120].lower(), code="MS-2104") from error
    return TrustChain(chain, pin, now_s)


def name_of(token: Token) -> str:
    """The name that an operator gave."""
    name: Any = token.claims.get("name")
    return str(name or "")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise AuthError("a signature that is none", got=str(error).lower(), code="MS-2104") from error
