"""``probe`` and ``browse``: talk to devices as an edge would, without running one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millstream.cli._options import Json, run
from millstream.cli._output import (
    CHECK_FAILED,
    NO_LINK,
    OK,
    json_text,
    note,
    print_json,
    print_table,
    print_text,
    report_error,
    report_usage,
)
from millstream.kernel import ConfigError, NotFoundError, PlantError, suggest

if TYPE_CHECKING:
    from millstream.config import ConnectorEntry
    from millstream.sdk import Connector


def probe(file: Path, name: str | None = None, /, *, timeout: float = 15.0, json: Json = False) -> int:
    """Test the connections of an edge file: open each, see what it can do, close it.

    Exit status 5 when one cannot be opened.

    Examples:

        millstream probe edge.yaml
        millstream probe edge.yaml mazak1 --json

    Parameters
    ----------
    file
        The edge file.
    name
        Only this connector.
    timeout
        Longest wait for one connector, in seconds.
    json
        Print one object a connector.
    """
    chosen = chosen_connectors(file, name, is_json=json)
    if chosen is None:
        return CHECK_FAILED

    async def work() -> list[dict[str, object]]:
        """All at once: they do not know each other."""
        return list(await asyncio.gather(*(_probe_one(entry, connector, timeout) for entry, connector in chosen)))

    results = run(work())
    for result in results if json else ():
        print_json(result)
    if not json:
        rows = [(r["name"], r["type"], "ok" if r["ok"] else "failed", r.get("open_ms"), _said(r)) for r in results]
        print_table(("connector", "type", "result", "open_ms", "says"), rows, right=("open_ms",))
    return OK if all(result["ok"] for result in results) else NO_LINK


async def _probe_one(entry: ConnectorEntry, connector: Connector, timeout_s: float) -> dict[str, object]:
    from millstream.edge import probe as open_once

    head: dict[str, object] = {"name": entry.name, "type": entry.type}
    try:
        result = await open_once(connector, timeout_s=timeout_s)
    except PlantError as error:
        return {**head, "ok": False, "error": error.as_dict(), "text": str(error)}
    return {**head, "ok": True, **result.as_dict()}


def _said(result: Mapping[str, Any]) -> str:
    return ", ".join(result["capabilities"]) if result["ok"] else str(result["text"])


def browse(
    file: Path,
    name: str | None = None,
    /,
    *,
    root: str | None = None,
    limit: int = 5000,
    timeout: float = 120.0,
    json: Json = False,
) -> int:
    """List what a device offers, as a starting configuration.

    Examples:

        millstream browse edge.yaml press_plc > found.yaml
        millstream browse edge.yaml press_plc --root 'ns=2;s=Press' --json | jq .address

    Parameters
    ----------
    file
        The edge file; its connector needs a connection only, no tags.
    name
        The connector; may be left out when there is one only.
    root
        Begin at this address of the device.
    limit
        Entries at most.
    timeout
        Longest wait, in seconds.
    json
        Print one object an entry instead of YAML.
    """
    chosen = chosen_connectors(file, name, is_json=json)
    if chosen is None:
        return CHECK_FAILED
    if len(chosen) != 1:
        names = ", ".join(entry.name for entry, _ in chosen)
        return report_usage(
            "it is not clear which connector", f"name one of {names}" if names else "the file has none", is_json=json
        )
    from millstream.edge import browse as list_device
    from millstream.edge import starting_config

    entry, connector = chosen[0]
    found = run(list_device(connector, root=root, limit=limit, timeout_s=timeout))
    if json:
        for node in found.nodes:
            print_json({field: getattr(node, field) for field in type(node).__slots__})
    else:
        config = (
            entry.config if isinstance(entry.config, dict) else entry.config.model_dump(mode="json", exclude_unset=True)
        )
        text = starting_config(found.nodes, name=entry.name, type_name=entry.type, config=config, path=entry.path)
        print_text(text.rstrip("\n"))
    note(f"{len(found.nodes)} entries" + ("" if found.is_complete else f"; there is more: raise --limit above {limit}"))
    return OK


def chosen_connectors(file: Path, name: str | None, *, is_json: bool) -> list[tuple[ConnectorEntry, Connector]] | None:
    """The connectors of a file, built; None after its errors were printed."""
    from millstream.config import HubConfig, InstalledConnectors, load_any
    from millstream.sdk import ConnectorConfig, ConnectorTools

    types = InstalledConnectors()
    config, findings = load_any(file, types)
    if config is None:
        for finding in findings:
            note(json_text({"error": finding.as_dict()}) if is_json else str(finding))
        return None
    if isinstance(config, HubConfig):
        report_error(ConfigError("a hub has no connectors", where=str(file)), is_json=is_json)
        return None
    entries = [entry for entry in config.connectors if name in (None, entry.name)]
    if name is not None and not entries:
        near = suggest(name, [entry.name for entry in config.connectors])
        raise NotFoundError(
            "no such connector in this file", where=str(file), got=repr(name),
            next_step=f"did you mean {near!r}?" if near else None,
        )  # fmt: skip
    built = []
    for entry in entries:
        cls = types[entry.type]
        settings = entry.config
        if not isinstance(settings, ConnectorConfig):
            settings = cls.Config.model_validate(settings)
        built.append((entry, cls(settings, ConnectorTools(entry.name))))
    return built
