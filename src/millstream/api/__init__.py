"""The HTTP API of a node: log-in at a hub with tenants, history as JSON, CSV or Arrow, the ledger, status, metrics.

Starlette and uvicorn are loaded when the API starts, not at import.
"""

from millstream.api._app import create_app
from millstream.api._console import is_built
from millstream.api._desk import Plants, plants_of
from millstream.api._door import NodeStatus
from millstream.api._people import PeopleAccess, users_of
from millstream.api._server import ApiAddress, load_or_make_token, serve_api
from millstream.api._sessions import create_tenants_app
from millstream.api._token_door import BrowserAccess

__all__ = [
    "ApiAddress",
    "BrowserAccess",
    "NodeStatus",
    "PeopleAccess",
    "Plants",
    "create_app",
    "create_tenants_app",
    "is_built",
    "load_or_make_token",
    "plants_of",
    "serve_api",
    "users_of",
]
