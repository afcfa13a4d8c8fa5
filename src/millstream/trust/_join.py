"""The join file: what makes a box the edge of a site, once. And the question and the answer of joining. Pure."""

from __future__ import annotations

import msgspec

from millstream.kernel import AuthError, ConfigError
from millstream.protocols.nats_jwt import KeyPair, is_public_key, verify_signature

FORMAT = "millstream-join-1"
JOIN_BYTES_MAX = 256 << 10


class JoinFile(msgspec.Struct, frozen=True, kw_only=True):
    """`creds` open the hub's door for one question, until `expires_s`; `certificate` is what the hub's TLS is checked
    against (PEM), none for a hub without TLS; `labels` are for the edge's own file; `more_urls` are the other boxes of
    a hub that is several."""

    format: str
    tenant: str
    site: str
    place: str
    hub_url: str
    operator_public: str
    plant_public: str
    creds: str
    expires_s: int
    certificate: str | None = None
    people_public: str | None = None
    labels: dict[str, str] = {}
    more_urls: list[str] = []


class JoinRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The new edge's public key, signed by itself over site and bearer: who asks holds the key."""

    public: str
    signature: bytes


class JoinAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The edge's token, or why there is none; `certificate` has the authorities (PEM) by which the hub is known now."""

    token: str | None = None
    certificate: str | None = None
    error: dict[str, str | None] | None = None


def encode_join_file(file: JoinFile) -> str:
    """As JSON, for people to see what it is."""
    return msgspec.json.format(msgspec.json.encode(file), indent=1).decode()


def parse_join_file(text: str | bytes, *, where: str) -> JoinFile:
    """Raises ConfigError (MS-2106)."""
    if len(text) > JOIN_BYTES_MAX:
        raise ConfigError("not a join file", where=where, got=f"{len(text)} bytes", code="MS-2106")
    try:
        file = msgspec.json.decode(text, type=JoinFile)
    except msgspec.DecodeError as error:
        raise ConfigError("not a join file", where=where, got=str(error).lower(), code="MS-2106") from error
    if file.format != FORMAT:
        raise ConfigError(
            "a join file of another version", where=where, expected=FORMAT, got=file.format[:40], code="MS-2106"
        )
    return file


def make_request(key: KeyPair, site: str, bearer: str) -> bytes:
    """The question of the box with `key`; `bearer` is the public key in the join file."""
    return msgspec.json.encode(JoinRequest(public=key.public, signature=key.sign(_signed(site, bearer, key.public))))


def read_request(payload: bytes, site: str, bearer: str) -> str:
    """The public key that asks. Raises AuthError (MS-2107)."""
    try:
        request = msgspec.json.decode(payload, type=JoinRequest)
    except msgspec.DecodeError as error:
        raise AuthError("not a request to join", got=str(error).lower(), code="MS-2107") from error
    if not is_public_key(request.public, "user"):
        raise AuthError("not the public key of a user", got=request.public[:64], code="MS-2107")
    verify_signature(request.public, _signed(site, bearer, request.public), request.signature)
    return request.public


def _signed(site: str, bearer: str, public: str) -> bytes:
    return f"millstream join {site} {bearer} {public}".encode()
