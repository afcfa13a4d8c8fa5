"""The part of the OpenAPI description that a hub with tenants has: logging in, sessions, credentials."""

from __future__ import annotations

from typing import Any

from millstream.protocols.uns_payload import JSON_TYPE

_TEXT = {"type": "string"}
_NUMBER = {"type": "integer"}
_TEXTS = {"type": "array", "items": _TEXT}
_ERROR = {"content": {JSON_TYPE: {"schema": {"$ref": "#/components/schemas/Error"}}}}


def _object(required: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(required)}


_NATS = _object(
    jwt=_TEXT, expires_s=_NUMBER, refresh_s=_NUMBER, inbox_prefix=_TEXT, api_prefix=_TEXT, live_subjects=_TEXTS,
    history_subjects=_TEXTS, sites_left_out=_NUMBER,
)  # fmt: skip
_SESSION = _object(
    tenant=_TEXT, user=_TEXT, role={"enum": ["viewer", "engineer", "commander"]}, via=_TEXT, place=_TEXT, paths=_TEXTS,
    expires_s=_NUMBER, websocket_port={"type": ["integer", "null"]}, nats=_NATS, token=_TEXT,
)  # fmt: skip
_PROVIDER: dict[str, Any] = {"parameters": [{"name": "provider", "in": "path", "required": True, "schema": _TEXT}]}
_KEY = {"type": "string", "description": "public nkey of a user that the client made: U and 55 more"}


def _operation(
    name: str, about: str, *, body: dict[str, Any] | None = None, is_open: bool = False, **more: Any
) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {"description": "the session", "content": {JSON_TYPE: {"schema": _SESSION}}},
        "400": {"description": "the body cannot be read", **_ERROR},
        "401": {"description": "not logged in, or wrong", **_ERROR},
        "403": {"description": "another site asks", **_ERROR},
        "429": {"description": "too many attempts: Retry-After says when", **_ERROR},
    }
    found: dict[str, Any] = {"operationId": name, "summary": about, "responses": responses, **more}
    if body is not None:
        found["requestBody"] = {"required": True, "content": {JSON_TYPE: {"schema": body}}}
    if is_open:
        found["security"] = []
    return found


LOGIN_PATHS: dict[str, Any] = {
    "/api/v1/login": {
        "get": _operation("ways_to_log_in", "How one can log in: the identity providers", is_open=True),
        "post": _operation(
            "log_in",
            "Log in as a local user: a session, as a cookie or a token, and NATS credentials for `public_key`",
            body=_object(
                ("tenant", "user", "password"),
                tenant=_TEXT,
                user=_TEXT,
                password=_TEXT,
                code=_TEXT,
                public_key=_KEY,
                as_cookie={"type": "boolean", "default": True},
            ),
            is_open=True,
        ),
    },
    "/api/v1/oidc/{provider}": {
        "get": _operation("begin_oidc", "Go to an identity provider (OpenID Connect)", is_open=True, **_PROVIDER),
    },
    "/api/v1/oidc/{provider}/callback": {
        "get": _operation("come_back", "Come back from it, and have a session", is_open=True, **_PROVIDER),
    },
    "/api/v1/session": {
        "get": _operation("session", "Who is logged in, and what that sees"),
        "delete": _operation("log_out", "End the session, and the NATS connections that were made with it"),
    },
    "/api/v1/session/credentials": {
        "post": _operation(
            "credentials",
            "NATS credentials of a session, for a few minutes",
            body=_object(("public_key",), public_key=_KEY),
        )
    },
}
