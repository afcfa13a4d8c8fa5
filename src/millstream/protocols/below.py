"""Questions below a path: ``millstream.below.<what>.<place>``. Pure.

The place stands in the subject, as data of that place has it (``uns.v1.acme.cologne``), so nats-server decides who may
ask for what lies there, and a hub believes the subject. ``uns.v1`` alone is everything. A question to one site bears
the site's own place: who may ask below a path that holds the whole site may, who sees a part of it only may not.
"""

from __future__ import annotations

from collections.abc import Mapping

from millstream.kernel import DecodeError
from millstream.model import AssetPath
from millstream.protocols.uns_subject import PREFIX, escape_token, unescape_token

BELOW = "millstream.below"
EVERYWHERE = PREFIX.removesuffix(".")
FLEET, FLEET_DATA, COMMANDS, COMMAND, COMMAND_FILE, CONFIG, ROLLOUT, MODULE = (
    "fleet", "fleet_data", "commands", "command", "command_file", "config", "rollout", "module",
)  # fmt: skip
"""What can be asked: facts and data of the sites there; their commands to look at, to send and cancel, the files that
those left; their configurations, roll-outs of these, and the modules that they name."""


def place_subject(path: str) -> str:
    """A path as the subject that its data is published below: ``acme/cologne`` -> ``uns.v1.acme.cologne``."""
    return PREFIX + ".".join(escape_token(level) for level in AssetPath.parse(path).levels)


def below_subject(what: str, place: str) -> str:
    """Where to ask; `place` is a subject, as `place_subject` makes it, or EVERYWHERE."""
    return f"{BELOW}.{what}.{place}"


def asked_below(what: str, subject: str) -> AssetPath | None:
    """The path that stands in a subject; None: everywhere. Raises DecodeError for what is no path."""
    place = subject.removeprefix(f"{BELOW}.{what}.")
    if place == EVERYWHERE:
        return None
    if not place.startswith(PREFIX):
        raise DecodeError("not below a path", got=subject[:120])
    return AssetPath(tuple(unescape_token(token) for token in place.removeprefix(PREFIX).split(".")))


def lies_below(root: AssetPath | None, path: str) -> bool:
    """Whether all of a place lies there."""
    return root is None or root.contains(AssetPath.parse(path))


def sites_below(places: Mapping[str, str], root: AssetPath | None) -> dict[str, str]:
    """The sites (name -> path) that lie there."""
    return {name: path for name, path in places.items() if lies_below(root, path)}
