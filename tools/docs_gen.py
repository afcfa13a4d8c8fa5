"""Write the reference pages that follow from the code. `--check` only tells what is stale."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import attack_docs
import bench_page
import cli_docs
import flow_docs
import sparkplug_docs
from millstream.config import EdgeConfig, HubConfig, UpConfig
from millstream.config._schema import section_schema
from millstream.kernel import format_duration

Pages: TypeAlias = Mapping[Path, Callable[[], str]]
ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "configuration.md"
INTRO = """# Configuration

This page is written by `tools/docs_gen.py` from the models in `millstream.config`; a test keeps it fresh.

Files are YAML (scalars as in YAML 1.2: `no` is text, `1:30` too), UTF-8, at most 8 MiB. `millstream check FILE` reports
everything that is wrong in one go, with file, line and path, and needs no network. Rules that hold everywhere:

- An unknown key is an error. Durations and sizes have units: `500ms`, `1s`, `5min`, `7d`; `512MiB`, `4GB`.
- Relative file names start at the folder of the configuration file.
- A secret is referred to, never written down: `{file: secrets/plc}` or `{env: PLC_PASSWORD}`. It is read when it is
  needed.
- A place is below the one above: a tag's `path` below its connector's, that one below the edge's. Written in full, with
  the edge's own path or `/` in front, it stands for itself. It never leaves the edge's place.
- Anchors, aliases and the merge key `<<` work, and are bounded at their expanded size.
"""
EXAMPLES = {
    "edge": """edge: {name: press-shop, path: acme/plant1, data_dir: ./data}
uplink: {url: "nats://hub.example:7422", secret: {file: secrets/uplink}}
connectors:
  - name: mazak1
    type: mtconnect
    path: machining/mazak1
    config: {mode: shdr, host: 10.0.0.5}
    tags:
      - {name: spindle/speed, address: Srpm, unit: rpm, deadband: {absolute: 1}}
""",
    "hub": """hub: {name: hub, data_dir: ./data}
server: {leaf_port: 7422}
edges:
  - {name: press-shop, path: acme/plant1}
historian: {hot_window: 1d, retention: 730d}
""",
    "up": """edge: {name: press-shop, path: acme/plant1, data_dir: ./data/edge}
hub: {name: hub, data_dir: ./data/hub}
server: {port: 4222, mqtt_port: 1883}
connectors: []
""",
}
WHAT = {
    "edge": ("The edge file", "For `millstream edge -c FILE`.", EdgeConfig),
    "hub": ("The hub file", "For `millstream hub -c FILE`.", HubConfig),
    "up": ("The file of a single machine", "For `millstream up -c FILE`: an edge file with a `hub` section.", UpConfig),
}


def configuration_page() -> str:
    """The whole page."""
    parts = [INTRO]
    shown: set[str] = set()
    for role, (title, text, model) in WHAT.items():
        parts.append(f"## {title}\n\n{text}\n\n```yaml\n{EXAMPLES[role]}```\n")
        schema = section_schema(model)
        parts.append(_table("", schema, schema["$defs"]))
        for path, name in _sections(schema, schema["$defs"]):
            if name in shown:
                continue
            shown.add(name)
            section = schema["$defs"][name]
            parts.append(
                f"### `{path}`\n\n{_prose(section.get('description', ''))}\n\n{_table(path, section, schema['$defs'])}"
            )
    return "\n".join(parts)


def _prose(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


def _sections(schema: dict[str, Any], defs: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, field in schema.get("properties", {}).items():
        name, is_list = _reference(field)
        if name is None or name == "ConnectorConfig":
            continue
        path = f"{prefix}{key}{'[]' if is_list else ''}"
        yield path, name
        yield from _sections(defs[name], defs, f"{path}.")


def _reference(field: dict[str, Any]) -> tuple[str | None, bool]:
    """The section that a field holds, and whether it holds a list of it."""
    for option in (field, *field.get("anyOf", ()), *field.get("allOf", ())):
        if "$ref" in option:
            return str(option["$ref"]).rpartition("/")[2], False
        if option.get("type") == "array" and "$ref" in option.get("items", {}):
            return str(option["items"]["$ref"]).rpartition("/")[2], True
    return None, False


def _table(path: str, section: dict[str, Any], defs: dict[str, Any]) -> str:
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    required = set(section.get("required", ()))
    for key, field in section.get("properties", {}).items():
        default = "required" if key in required else _default(field)
        lines.append(f"| `{key}` | {_kind(field, defs)} | {default} | {_prose(field.get('description', ''))} |")
    return "\n".join(lines) + "\n"


def _kind(field: dict[str, Any], defs: dict[str, Any]) -> str:
    name, is_list = _reference(field)
    if name is not None and name != "ConnectorConfig":
        if name == "SecretRef":
            return "secret reference"
        return "list of sections" if is_list else "section"
    kinds = [_simple(o) for o in field.get("anyOf", [field]) if o.get("type") != "null"]
    return " or ".join(dict.fromkeys(k for k in kinds if k)) or "mapping"


def _simple(option: dict[str, Any]) -> str:
    if "enum" in option:
        return ", ".join(f"`{word}`" for word in option["enum"])
    if "ns|us|ms" in str(option.get("pattern")):
        return "duration"
    if option.get("examples") == ["512MiB", "4GB"]:
        return "size"
    names = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
        "object": "mapping",
        "array": "list",
    }
    kind = option.get("type", "")
    text = " or ".join(names[k] for k in kind) if isinstance(kind, list) else names.get(kind, "mapping")
    low, high = option.get("minimum", option.get("exclusiveMinimum")), option.get("maximum")
    return f"{text}, {low} to {high}" if low is not None and high is not None else text


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    if default is None or default in ({}, [], "") or isinstance(default, dict):
        return ""
    if field.get("examples") == ["512MiB", "4GB"]:
        return f"`{_size(default)}`"
    if isinstance(default, float) and "ns|us|ms" in str(field.get("pattern")):
        return f"`{format_duration(default)}`"
    return f"`{default}`"


def _size(value: int) -> str:
    for unit in ("GiB", "MiB", "KiB"):
        scale = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10}[unit]
        if value % scale == 0:
            return f"{value // scale}{unit}"
    return str(value)


PAGES: Pages = {
    PAGE: configuration_page,
    cli_docs.PAGE: cli_docs.command_page,
    flow_docs.PAGE: lambda: flow_docs.flows_page(_table),
    bench_page.PAGE: bench_page.benchmark_page,
    sparkplug_docs.PAGE: sparkplug_docs.page,
    attack_docs.PAGE: attack_docs.page,
}


def stale(pages: Pages) -> list[Path]:
    """The pages that are missing or not what the code makes of them now."""
    return [path for path, make in pages.items() if not path.is_file() or path.read_text(encoding="utf-8") != make()]


def write(pages: Pages) -> None:
    """Write every page that is stale."""
    for path in stale(pages):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pages[path](), encoding="utf-8")
        print(f"written: {path}", file=sys.stderr)


def main(arguments: list[str]) -> int:
    """Write, or with `--check` compare."""
    if "--check" not in arguments:
        write(PAGES)
        return 0
    for path in stale(PAGES):
        print(f"stale: {path} (run tools/docs_gen.py)", file=sys.stderr)
    return 1 if stale(PAGES) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
