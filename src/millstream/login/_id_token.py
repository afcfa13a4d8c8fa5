"""What an identity provider says of somebody, proven (OpenID Connect Core 1.0, 3.1.3.7), and what that makes of them
here. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millstream.kernel import AuthError, ConfigError, needs_extra
from millstream.login._records import LoginRole, check_paths

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""Signatures by a key of which the public half is known: never ``none``, and no shared secret (HS256), for which a
public key could be taken."""
LEEWAY_S = 30  # of clocks
AGE_S_MAX = 600  # of a token that was fetched this moment
TOKEN_BYTES_MAX = 32 * 1024
REFUSED, UNKNOWN_PERSON = "MS-2127", "MS-2129"


class UnknownKey(AuthError):
    """No key that we know has signed it: the provider may have a new one."""

    default_code = REFUSED


@dataclass(frozen=True, slots=True)
class ClaimRule:
    """Whose claim `claim` is, or holds, `value`: it is a `role` of `tenant`, below `paths` (none: everywhere)."""

    claim: str
    value: str
    tenant: str
    role: LoginRole
    paths: tuple[str, ...] = ()

    def fits(self, claims: Mapping[str, Any]) -> bool:
        """Whether this rule is about whoever has these claims."""
        found = claims.get(self.claim)
        return found == self.value or (isinstance(found, list) and self.value in found)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token must say: who issued it, for whom, in answer to what."""

    issuer: str
    client_id: str
    nonce: str


def read_id_token(text: str, keys: Mapping[str, Any], expected: Expected, now_s: int) -> dict[str, Any]:
    """The claims of a token. `keys` is the provider's key set (RFC 7517). Raises AuthError (MS-2127)."""
    with needs_extra("log-in with an identity provider", "login"):
        from joserfc import errors, jwk, jwt
    if len(text) > TOKEN_BYTES_MAX:
        raise AuthError("the provider's token is too long", got=f"{len(text)} bytes", code=REFUSED)
    try:
        usable = [key for key in keys["keys"] if key.get("use", "sig") == "sig" and key.get("kty") != "oct"]
        key_set = jwk.KeySet.import_key_set({"keys": usable})
        token = jwt.decode(text, key_set, algorithms=list(ALGORITHMS))
    except (errors.BadSignatureError, errors.MissingKeyError, errors.InvalidKeyIdError) as error:
        raise UnknownKey("the provider's token is signed by nobody known", code=REFUSED) from error
    except (errors.JoseError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise AuthError("the provider's token is none", got=type(error).__name__, code=REFUSED) from error
    claims = dict(token.claims)
    _check(claims, expected, now_s)
    return claims


def _check(claims: Mapping[str, Any], expected: Expected, now_s: int) -> None:
    from joserfc import errors, jwt

    registry = jwt.JWTClaimsRegistry(
        now=now_s, leeway=LEEWAY_S,
        iss={"essential": True, "value": expected.issuer}, aud={"essential": True, "value": expected.client_id},
        exp={"essential": True}, iat={"essential": True}, sub={"essential": True},
        nonce={"essential": True, "value": expected.nonce},
    )  # fmt: skip
    try:
        registry.validate(dict(claims))
    except errors.JoseError as error:
        raise AuthError("the provider's token is not for this", got=str(error)[:200].lower(), code=REFUSED) from error
    audience = claims["aud"]
    if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != expected.client_id:
        raise AuthError("the provider's token is for others, too", got=str(audience)[:200], code=REFUSED)
    if not isinstance(claims["iat"], int | float) or now_s - claims["iat"] > AGE_S_MAX:
        raise AuthError("the provider's token is old", got=f"iat {claims['iat']}"[:80], code=REFUSED)


def choose_rule(rules: Sequence[ClaimRule], claims: Mapping[str, Any], places: Mapping[str, str]) -> ClaimRule:
    """The first rule that fits, with its paths in their one form. `places`: tenant -> its place. Raises AuthError."""
    for rule in rules:
        if rule.tenant in places and rule.fits(claims):
            try:
                paths = check_paths(list(rule.paths), places[rule.tenant])
            except ConfigError as error:
                raise AuthError("a rule leads outside of its tenant", got=str(error), code=UNKNOWN_PERSON) from error
            return ClaimRule(rule.claim, rule.value, rule.tenant, rule.role, tuple(paths))
    raise AuthError(
        "nobody here knows you", got=str(claims.get("sub", ""))[:80], code=UNKNOWN_PERSON,
        next_step="ask for a group that a rule of `login.oidc` names",
    )  # fmt: skip
