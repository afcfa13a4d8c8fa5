"""What an error means to whoever asked over HTTP: its status, and itself as JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from millstream.api._request import FORBIDDEN, json_response
from millstream.config import DocumentRefused
from millstream.kernel import AuthError, ConfigError, DecodeError, NotFoundError, PlantError
from millstream.login import TooManyAttempts

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

NOT_NOW = frozenset({"MS-0385", "MS-2406", "MS-2430", "MS-2703", "MS-2721", "MS-2723"})
"""Codes of what a thing does not allow as it is now: a letter that is still malformed, a site that somebody has changed
meanwhile, a roll-out, an alarm, a stop."""
MALFORMED = frozenset({"MS-0582", "MS-2300"})
"""Codes of what is wrong with the question where a node says so, not this door: a time, a span, the id of a command."""
MAY_NOT = frozenset({FORBIDDEN, "MS-2413", "MS-2418"})
"""Codes of an AuthError of somebody who is known, and may not; any other has to log in."""


def plant_error(request: Request, error: Exception) -> Response:
    """The answer to a refused question."""
    from millstream.client import ContractBroken, NotWritten

    assert isinstance(error, PlantError)
    raw: dict[str, object] = {**error.as_dict()}
    if isinstance(error, TooManyAttempts):
        return json_response(raw, 429, {"Retry-After": str(math.ceil(error.retry_after_s))})
    if isinstance(error, AuthError):
        if error.code in MAY_NOT:
            return json_response(raw, 403)
        return json_response(raw, 401, {"WWW-Authenticate": "Bearer"})
    if isinstance(error, DocumentRefused):
        return json_response(raw | {"findings": [finding.as_dict() for finding in error.findings]}, 400)
    if isinstance(error, NotWritten):
        return json_response(raw | {"state": error.answer.state}, 409)
    if isinstance(error, ContractBroken) or error.code in NOT_NOW:
        return json_response(raw, 409)
    if isinstance(error, (DecodeError, ConfigError)) or error.code in MALFORMED:
        return json_response(raw, 400)
    return json_response(raw, 404 if isinstance(error, NotFoundError) else 503)
