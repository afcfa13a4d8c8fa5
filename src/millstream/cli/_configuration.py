"""Commands about configuration and errors; none of them needs a running node."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal

from millstream.cli._output import EXIT_CHECK, EXIT_OK, print_json, print_line, say
from millstream.kernel import NotFoundError, error_registry, suggest


def check(*files: Path, json: bool = False) -> int:
    """Check configuration files offline: all errors at once, each with file, line and path. Exit 6 when there are any.

    Examples: `millstream check edge.yaml`; `millstream check edge.yaml hub.yaml --json`.

    Parameters
    ----------
    files
        Edge, hub or single-machine files.
    json
        Print the findings as JSON.
    """
    from millstream.config import InstalledConnectors, load_any

    connectors = InstalledConnectors()
    findings = [finding for file in files for finding in load_any(file, connectors)[1]]
    if json:
        print_json({"ok": not findings, "findings": [finding.as_dict() for finding in findings]})
    else:
        for finding in findings:
            print_line(str(finding))
        say(f"{len(files)} files, {len(findings)} errors")
    return EXIT_CHECK if findings else EXIT_OK


def schema(role: Literal["edge", "hub", "up"], *, json: bool = True) -> int:
    """Print the JSON Schema of a configuration file, connectors included, for editors.

    Examples: `millstream schema edge > edge.schema.json`; `millstream schema hub`.

    Parameters
    ----------
    role
        Which file.
    json
        The schema is JSON in any case.
    """
    from millstream.config import InstalledConnectors, json_schema

    print_json(json_schema(role, InstalledConnectors()))
    return EXIT_OK


def explain(code: str, *, json: bool = False) -> int:
    """Explain an error code: what it means, why it happens, what to do.

    Examples: `millstream explain MS-0401`; `millstream explain MS-0100 --json`.

    Parameters
    ----------
    code
        As it stands in brackets at the end of a message.
    json
        Print the entry as JSON.
    """
    registry = error_registry()
    entry = registry.get(code.upper())
    if entry is None:
        near = suggest(code.upper(), registry)
        raise NotFoundError("no such error code", got=code, next_step=f"did you mean {near}?" if near else None)
    if json:
        print_json(asdict(entry))
    else:
        print_line(f"{entry.code}  {entry.title}\n\nwhy   {entry.cause}\ndo    {entry.remedy}")
    return EXIT_OK
