"""The command ``millstream``: parse, call, render. Each command is a plain function that returns its exit status."""

from millstream.cli._main import main

__all__ = ["main"]
