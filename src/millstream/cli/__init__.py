"""The ``millstream`` command: thin commands over the nodes and the SDK; each has ``--json`` and documented exit codes."""

from millstream.cli._app import main

__all__ = ["main"]
