"""Several inputs of one place, each under a short name: the newest value of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator

from millstream.flow._model import Event
from millstream.model import GOOD, AssetPath, Quality
from millstream.protocols.uns_subject import UnsAddress


def check_names(names: dict[str, str]) -> dict[str, str]:
    """Names that an expression may use, each of another tag. Raises ValueError."""
    for name in names:
        if not name.isidentifier():
            raise ValueError(f"not a name for an expression: {name!r} (letters, digits and _)")
    if len(set(names.values())) < len(names):
        raise ValueError("two names for one tag")
    if not names:
        raise ValueError("at least one name is needed")
    return names


Names = Annotated[dict[str, str], AfterValidator(check_names)]
"""Short names by tag below the place: `speed: spindle/speed`, or with `levels` also `pump: pump1:flow`."""


class Latest(msgspec.Struct, array_like=True):
    """The newest value of one input and its quality."""

    value: Any
    quality: int = 0


class Inputs:
    """Finds the short name of an event, and the key: its place, or the place `levels` from the top."""

    def __init__(self, names: Mapping[str, str], levels: int | None) -> None:
        self._by_tag = {tag: name for name, tag in names.items()}
        self._levels = levels

    def key(self, address: UnsAddress) -> str:
        """For `Flow.key`."""
        if self._levels is None:
            return str(address.asset)
        return str(AssetPath(address.asset.levels[: self._levels]))

    def name(self, event: Event) -> str | None:
        """Of a sample; None for one that is no input."""
        return self._by_tag.get(event.source[len(event.key) + 1 :])


def values_of(inputs: Mapping[str, Latest]) -> dict[str, Any]:
    """What an expression sees: bad values are none."""
    return {name: latest.value for name, latest in inputs.items() if latest.quality >> 30 < 2}


def worst_of(inputs: Mapping[str, Latest], names: frozenset[str]) -> Quality:
    """The most severe quality of the named inputs."""
    return max((Quality(inputs[name].quality) for name in names if name in inputs), default=GOOD)
