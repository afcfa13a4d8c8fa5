"""The events that everybody counts, and whether there is a broker."""

from __future__ import annotations

import shutil


def level(number: int, keys: int) -> int:
    """Of the `number`-th event: machines take turns, each switches its barrier with every one."""
    return number // keys % 2


def subject(number: int, keys: int) -> str:
    """Whose event it is."""
    return f"uns.v1.acme.plant1.machine{number % keys}._tag.barrier"


def program() -> str | None:
    """Mosquitto, which is often outside the user's PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
