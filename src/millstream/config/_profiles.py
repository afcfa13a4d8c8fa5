"""Device profiles: ready tags for a known type of device, in the folder ``profiles`` of the connector that reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from pydantic import Field, ValidationError

from millstream.config._finding import Findings
from millstream.config._yaml import parse_yaml
from millstream.kernel import ConfigError, suggest
from millstream.sdk import Connector, Strict

FOLDER = "profiles"
SUFFIX = ".yaml"


class DeviceProfile(Strict):
    """What a profile file says. Tags and configuration are written as in an edge file."""

    device: str = Field(min_length=1)
    """What it is, for people."""
    source: str = Field(min_length=1)
    """The public document that the tags are taken from."""
    config: dict[str, Any] = Field(default_factory=dict)
    """What the connector's configuration is unless the edge file says otherwise."""
    tags: tuple[dict[str, Any], ...] = Field(min_length=1)
    """The tags."""


def profiles_of(cls: type[Connector]) -> dict[str, DeviceProfile]:
    """The profiles that come with a connector, by name. Raises ConfigError for a file that is none."""
    return {name: _read(name, text) for name, text in _files(cls)}


def _files(cls: type[Connector]) -> Iterator[tuple[str, str]]:
    package = cls.__module__.rpartition(".")[0]
    folder = resources.files(package) / FOLDER if package else None
    if folder is None or not folder.is_dir():
        return
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if file.name.endswith(SUFFIX):
            yield file.name.removesuffix(SUFFIX), file.read_text(encoding="utf-8")


def _read(name: str, text: str) -> DeviceProfile:
    document = parse_yaml(text)
    if document.troubles:
        trouble = document.troubles[0]
        raise ConfigError(f"profile cannot be read: {trouble.message}", where=f"{name}:{trouble.line}")
    try:
        return DeviceProfile.model_validate(document.plain())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise ConfigError(f"profile is wrong: {place}: {first['msg']}", where=name) from error


def with_profiles(raw: Any, connectors: Mapping[str, type[Connector]], findings: Findings) -> Any:
    """The document with the profiles of its connectors filled in, as if their tags stood in the file.

    A tag of the file that has the name of one of the profile changes that one, key by key; all others are added.
    """
    entries = raw.get("connectors") if isinstance(raw, dict) else None
    if not isinstance(entries, list):
        return raw
    filled = [_filled(entry, i, connectors, findings) for i, entry in enumerate(entries)]
    return {**raw, "connectors": filled}


def _filled(entry: Any, index: int, connectors: Mapping[str, type[Connector]], findings: Findings) -> Any:
    name, kind = (entry.get("profile"), entry.get("type")) if isinstance(entry, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(kind, str):
        return entry
    try:
        known = profiles_of(connectors[kind])
    except (KeyError, ConfigError):
        return entry  # the connector itself is told to be wrong or missing
    profile = known.get(name)
    if profile is None:
        near = suggest(name, known)
        hint = f"did you mean '{near}'?" if near else f"it has: {', '.join(known) or 'none'}"
        findings.add(("connectors", index, "profile"), f"connector {kind!r} has no profile {name!r:.60}", hint=hint)
        return entry
    config, tags = entry.get("config"), entry.get("tags")
    filled = dict(entry)
    if config is None or isinstance(config, dict):
        filled["config"] = {**profile.config, **(config or {})}
    if tags is None or isinstance(tags, list):
        filled["tags"] = _merged(profile, tags or [])
    return filled


def _merged(profile: DeviceProfile, listed: list[Any]) -> list[Any]:
    """Those of the file first, so that what is wrong with one is told at its place."""
    rest = {tag.get("name"): tag for tag in profile.tags}
    own = [{**rest.pop(tag["name"], {}), **tag} if isinstance(tag, dict) and "name" in tag else tag for tag in listed]
    return [*own, *rest.values()]
