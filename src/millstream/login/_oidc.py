"""Log-in with an identity provider: OpenID Connect, the authorization code flow with PKCE (RFC 6749, RFC 7636).

The browser is sent to the provider and comes back with a code, which is good once, for whoever holds the verifier and
the browser that began, at whichever member of the hub it comes back to (`_begun`); that one fetches the token itself.
Its proof is in `_id_token`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from millstream.http import ClientOptions, GetOptions, Words, get, open_http
from millstream.kernel import AuthError, Clock, NotFoundError, ProtocolViolation, Unreachable
from millstream.login._begun import LIFE_S, Begun, BegunBook
from millstream.login._id_token import REFUSED, ClaimRule, Expected, UnknownKey, choose_rule, read_id_token
from millstream.login._records import Identity
from millstream.sdk import TlsFiles

TIMEOUT_S = 10.0
DOCUMENT_BYTES_MAX = 256 * 1024
METADATA_S = 3600  # a provider's addresses change by the year
KEYS_AGAIN_S = 10.0  # whoever sends forged tokens does not make us ask the provider for each
NAME_LENGTH_MAX = 64
REDIRECT_LENGTH_MAX = 2048  # without `public_url` it is what the request says
UNREACHABLE = "MS-2128"
_WORDS = Words(
    "the identity provider", "log-in with an identity provider", "login", UNREACHABLE, UNREACHABLE, UNREACHABLE
)


@dataclass(frozen=True, slots=True)
class OidcProvider:
    """One provider. `secret` is read when it is needed; `user_claim` names people, in the audit and elsewhere."""

    name: str
    issuer: str
    client_id: str
    rules: tuple[ClaimRule, ...]
    secret: Callable[[], str] | None = field(default=None, repr=False)
    user_claim: str = "preferred_username"
    scopes: tuple[str, ...] = ("openid", "profile")
    ca_file: Path | None = None

    @property
    def via(self) -> str:
        """As sessions have it."""
        return f"oidc:{self.name}"


@dataclass(slots=True)
class _Known:
    metadata: Mapping[str, Any] = field(default_factory=dict)
    metadata_s: float = -math.inf
    keys: Mapping[str, Any] = field(default_factory=dict)
    again_s: float = -math.inf


class OidcDesk:
    """`places` gives tenant -> place, as the operator says now; `begun` keeps who is on the way."""

    def __init__(
        self, providers: Sequence[OidcProvider], places: Callable[[], Mapping[str, str]], begun: BegunBook, clock: Clock
    ) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._known = {provider.name: _Known() for provider in providers}
        self._places = places
        self._clock = clock
        self._begun = begun

    @property
    def names(self) -> list[str]:
        """Of the providers."""
        return list(self._providers)

    def knows(self, via: str) -> bool:
        """Whether sessions that came this way are good still."""
        return via in {provider.via for provider in self._providers.values()}

    async def begin(self, name: str, redirect_uri: str) -> tuple[str, str]:
        """Where to send a browser, and what it has to bring back beside (a cookie). Raises NotFoundError,
        Unreachable."""
        provider = self._providers.get(name)
        if provider is None:
            raise NotFoundError(
                "no identity provider of this name", got=name[:40], expected=", ".join(self.names) or "none"
            )
        metadata = await self._metadata(provider)
        state, browser, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        if len(redirect_uri) > REDIRECT_LENGTH_MAX:
            raise AuthError("the address to come back to is too long", got=redirect_uri[:80], code=REFUSED)
        begun = Begun(
            provider=name, browser=_digest(browser), nonce=secrets.token_urlsafe(32), verifier=verifier,
            redirect_uri=redirect_uri, expires_s=self._now_s() + LIFE_S,
        )  # fmt: skip
        await self._begun.put(state, begun)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        question = {
            "response_type": "code", "client_id": provider.client_id, "redirect_uri": redirect_uri,
            "scope": " ".join(provider.scopes), "state": state, "nonce": begun.nonce, "code_challenge": challenge,
            "code_challenge_method": "S256",
        }  # fmt: skip
        return f"{metadata['authorization_endpoint']}?{urlencode(question)}", browser

    async def finish(self, name: str, answer: Mapping[str, str], browser: str) -> Identity:
        """Who came back. `answer` is the query of the address it came with. Raises AuthError, Unreachable.

        What it began is used up first: killed behind that, it begins again."""
        begun, provider = await self._begun.take(answer.get("state", "")), self._providers.get(name)
        if (
            begun is None
            or provider is None
            or begun.provider != name
            or begun.expires_s < self._now_s()
            or not hmac.compare_digest(begun.browser, _digest(browser))
        ):
            raise AuthError("this log-in was not begun here, or is over", next_step="begin again", code=REFUSED)
        if "error" in answer or not answer.get("code"):
            raise AuthError("the identity provider refused", got=answer.get("error", "no code")[:80], code=REFUSED)
        if answer.get("iss", provider.issuer) != provider.issuer:  # RFC 9207
            raise AuthError("another provider answers", got=answer["iss"][:200], code=REFUSED)
        text = await self._fetch_token(provider, begun, answer["code"])
        claims = await self._prove(provider, text, begun.nonce)
        rule = choose_rule(provider.rules, claims, self._places())
        found = str(claims.get(provider.user_claim) or claims["sub"])[:NAME_LENGTH_MAX]
        return Identity(rule.tenant, found, rule.role, rule.paths, via=provider.via)

    async def _prove(self, provider: OidcProvider, text: str, nonce: str) -> dict[str, Any]:
        expected = Expected(provider.issuer, provider.client_id, nonce)
        known = self._known[provider.name]
        if not known.keys:
            await self._load_keys(provider)
        try:
            return read_id_token(text, known.keys, expected, self._now_s())
        except UnknownKey:
            if self._up_s() - known.again_s < KEYS_AGAIN_S:
                raise
            known.again_s = self._up_s()
            await self._load_keys(provider)
            return read_id_token(text, known.keys, expected, self._now_s())

    async def _fetch_token(self, provider: OidcProvider, begun: Begun, code: str) -> str:
        endpoint = str((await self._metadata(provider))["token_endpoint"])
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": begun.redirect_uri,
            "code_verifier": begun.verifier,
        }  # fmt: skip
        basic = None
        if provider.secret is None:
            form["client_id"] = provider.client_id
        else:  # RFC 6749, 2.3.1: both parts are form-encoded first
            secret = await asyncio.to_thread(provider.secret)
            basic = (quote(provider.client_id, safe=""), quote(secret, safe=""))
        options = ClientOptions(basic=basic, tls=self._files(provider, endpoint), connections_max=1)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        body = b""
        try:
            async with asyncio.timeout(TIMEOUT_S), open_http(options, _WORDS) as client:
                content = urlencode(form).encode()
                async with client.exchange("POST", endpoint, content=content, headers=headers) as response:
                    async for part in response.parts:
                        body += part
                        _check_size(body, endpoint)
                    status = response.status
        except TimeoutError as error:
            raise Unreachable("the identity provider does not answer", where=endpoint, code=UNREACHABLE) from error
        if status != 200:
            raise AuthError("the identity provider took the code for none", got=f"status {status}", code=REFUSED)
        token = _object(body, endpoint).get("id_token")
        if not isinstance(token, str):
            raise AuthError("the identity provider gave no token of who it is", where=endpoint, code=REFUSED)
        return token

    async def _metadata(self, provider: OidcProvider) -> Mapping[str, Any]:
        """OpenID Connect Discovery 1.0, 4: what it says must be of this very issuer."""
        known, now_s = self._known[provider.name], self._up_s()
        if now_s - known.metadata_s > METADATA_S:
            url = f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration"
            found = await self._document(provider, url)
            if found.get("issuer") != provider.issuer:
                raise ProtocolViolation(
                    "the identity provider is another", where=url, expected=provider.issuer,
                    got=str(found.get("issuer"))[:200], code=UNREACHABLE,
                )  # fmt: skip
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                self._files(provider, str(found.get(name, "")))
            known.metadata, known.metadata_s = found, now_s
        return known.metadata

    async def _load_keys(self, provider: OidcProvider) -> None:
        self._known[provider.name].keys = await self._document(
            provider, str((await self._metadata(provider))["jwks_uri"])
        )

    async def _document(self, provider: OidcProvider, url: str) -> dict[str, Any]:
        options = GetOptions("application/json", TIMEOUT_S, DOCUMENT_BYTES_MAX, self._files(provider, url))
        document = await get(url, options, _WORDS)
        if document.status != 200:
            raise Unreachable(
                "the identity provider says no", where=url, got=f"status {document.status}", code=UNREACHABLE
            )
        return _object(document.body, url)

    def _files(self, provider: OidcProvider, url: str) -> TlsFiles | None:
        """Whom to trust for an address; None for a plain one, which an issuer may have that is plain itself (a check of
        the configuration allows that on loopback only). Raises ProtocolViolation."""
        scheme = urlsplit(url).scheme
        if scheme == "https":
            return TlsFiles(ca_file=provider.ca_file)
        if scheme == "http" and provider.issuer.startswith("http:"):
            return None
        raise ProtocolViolation("the identity provider names an address without TLS", where=url[:200], code=UNREACHABLE)

    def _up_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9

    def _now_s(self) -> int:
        return self._clock.now_ns() // 1_000_000_000


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _check_size(body: bytes, where: str) -> None:
    if len(body) > DOCUMENT_BYTES_MAX:
        raise ProtocolViolation("the identity provider's answer is too long", where=where, code=UNREACHABLE)


def _object(body: bytes, where: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolViolation("the identity provider's answer is not JSON", where=where, code=UNREACHABLE) from error
    if not isinstance(found, dict):
        raise ProtocolViolation("the identity provider's answer is no object", where=where, code=UNREACHABLE)
    return found
