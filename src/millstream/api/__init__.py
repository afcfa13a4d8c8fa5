"""The HTTP API of a node: history as JSON, CSV or Arrow, the ledger, status, metrics.

Starlette and uvicorn are loaded when the API starts, not at import.
"""

from millstream.api._app import NodeStatus, create_app
from millstream.api._server import ApiAddress, load_or_make_token, serve_api

__all__ = ["ApiAddress", "NodeStatus", "create_app", "load_or_make_token", "serve_api"]
