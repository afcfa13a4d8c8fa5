"""What a built-in flow is made of, and what their configurations share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from pydantic import AfterValidator, ValidationError

from millstream.flow._model import Flow, Input, TimePolicy, key_of_asset, key_of_tag
from millstream.kernel import ConfigError, DecodeError
from millstream.model import TagPath
from millstream.protocols.uns_subject import UnsAddress
from millstream.sdk import Strict

PATHS_MAX = 100_000


class FlowConfig(Strict):
    """Subclass with typed fields and a docstring under each: the source of checks and of the reference page."""


class Build(Protocol):
    """Makes the flow of a checked configuration."""

    def __call__(
        self, name: str, inputs: tuple[Input, ...], config: Any, *, version: int, time: TimePolicy
    ) -> Flow[Any]:
        """Raises ConfigError for what the model cannot tell."""
        ...


@dataclass(frozen=True, slots=True)
class FlowType:
    """One kind of flow. `Config` is the model of its configuration, `description` one paragraph for people."""

    name: str
    Config: type[FlowConfig]
    build: Build
    description: str

    def problem(self, config: Any) -> str | None:
        """What the model of a configuration cannot tell: a wrong expression, units that do not fit; None: nothing."""
        try:
            self.build("check", (Input("**"),), config, version=1, time=TimePolicy())
        except ConfigError as error:
            parts = [error.what, f"expected {error.expected}" if error.expected else "", f"got {error.got}"]
            return ", ".join(part for part in parts if part and part != "got None")
        return None

    def make(
        self, name: str, inputs: Sequence[Input], config: Any, *, version: int = 1, time: TimePolicy | None = None
    ) -> Flow[Any]:
        """The flow from a raw configuration (a mapping). Raises ConfigError that names the first wrong field."""
        try:
            checked = self.Config.model_validate(config or {})
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(step) for step in first["loc"])
            raise ConfigError(
                first["msg"].removeprefix("Value error, "), where=f"{name}: config.{place}",
                got=repr(first.get("input"))[:80],
            ) from error  # fmt: skip
        return self.build(name, tuple(inputs), checked, version=version, time=time or TimePolicy())


def _check_output(name: str) -> str:
    try:
        TagPath.parse("a:" + name.replace("{name}", "n").replace("{unit}", "u"))
    except DecodeError as error:
        raise ValueError(f"not a name of a tag: {error.what}") from error
    if "{" in name.replace("{name}", "").replace("{unit}", ""):
        raise ValueError("in a name only {name} and {unit} are replaced")
    return name


OutputName = Annotated[str, AfterValidator(_check_output)]
"""Names of a tag below its place, such as `parts` or `{name}/filtered`."""


class OutputPath:
    """Paths of what a flow gives, by key. With ``{name}`` in the template each input tag has a result of its own, so
    the tag is the key; without it the key is the place."""

    def __init__(self, template: str) -> None:
        self._template = template
        self.key: Callable[[UnsAddress], str] = key_of_tag if "{name}" in template else key_of_asset
        self._paths: dict[str, str] = {}

    def __call__(self, key: str) -> str:
        """The path of a key; or of any tag of the same form."""
        path = self._paths.get(key)
        if path is None:
            asset, _, names = key.partition(":")
            path = f"{asset}:{self._template.replace('{name}', names)}"
            if len(self._paths) > PATHS_MAX:
                self._paths.clear()
            self._paths[key] = path
        return path


def nanoseconds(seconds: float) -> int:
    """A configured duration in ns."""
    return round(seconds * 1e9)


def number(value: Any) -> float | int | None:
    """A finite number, or None for what is none (a text, NaN, a truth value)."""
    kind = type(value)
    if kind is int:
        return int(value)
    return float(value) if kind is float and math.isfinite(value) else None


def whole(value: Any) -> int:
    """A whole number, also one that a device gives as a float. Raises ValueError."""
    found = number(value)
    if found is None or found != int(found):
        raise ValueError(f"not a whole number: {value!r:.60}")
    return int(found)
