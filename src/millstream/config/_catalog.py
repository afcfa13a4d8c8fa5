"""Connector classes by name, loaded when first asked for: listing them imports nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points

from millstream.kernel import ConfigError, PlantError
from millstream.sdk import Connector

GROUP = "millstream.connectors"


class InstalledConnectors(Mapping[str, type[Connector]]):
    """All connectors that installed packages offer as entry points of the group ``millstream.connectors``.

    Looking one up imports its package; it raises KeyError for an unknown name and ConfigError when it cannot be loaded.
    """

    def __init__(self) -> None:
        self._entries: dict[str, EntryPoint] = {entry.name: entry for entry in entry_points(group=GROUP)}
        self._loaded: dict[str, type[Connector]] = {}

    def __getitem__(self, name: str) -> type[Connector]:
        if name not in self._loaded:
            self._loaded[name] = _load(self._entries[name])
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)


def _load(entry: EntryPoint) -> type[Connector]:
    try:
        loaded: type[Connector] = entry.load()
    except PlantError as error:
        raise ConfigError(error.what, next_step=error.next_step, code=error.code) from error
    except ImportError as error:
        hint = f"run `pip install millstream[{entry.name}]`" if entry.value.startswith("millstream.") else None
        raise ConfigError(
            f"connector '{entry.name}' cannot be loaded: {error}", next_step=hint, code="MS-0106"
        ) from error
    except AttributeError as error:
        raise ConfigError(f"connector '{entry.name}' cannot be loaded: {error}", code="MS-0106") from error
    return loaded
