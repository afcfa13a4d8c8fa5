"""The ``millstream`` command: thin commands over nodes and SDK; each has ``--json`` and documented exit codes."""

from millstream.cli._app import main

__all__ = ["main"]
