"""Break a plant in every way and count the parts: `millstream torture`."""

from millstream.torture._main import main

__all__ = ["main"]
