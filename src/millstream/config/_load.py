"""Load and check a configuration file: everything that can be known without a network, all errors at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from millstream.config._edge import ConnectorEntry, EdgeConfig
from millstream.config._finding import Finding, Findings
from millstream.config._flow_check import FlowKinds, check_flows, flow_lists
from millstream.config._flow_rules import check_flow_rules
from millstream.config._hub import HubConfig, UpConfig
from millstream.config._profiles import with_profiles
from millstream.config._semantics import check_connector, check_edge_names, check_hub
from millstream.config._yaml import Loc, parse_yaml, read_text
from millstream.kernel import ConfigError
from millstream.sdk import Connector

ConnectorTypes = Mapping[str, type[Connector]]
"""Connector classes by type name; looking one up may raise ConfigError (an extra is not installed)."""

NO_FLOWS: FlowKinds = {}

Role = Literal["edge", "hub", "up"]
ConfigT = TypeVar("ConfigT", bound=BaseModel)


def load_edge(
    path: Path, connectors: ConnectorTypes, flows: FlowKinds = NO_FLOWS
) -> tuple[EdgeConfig | None, list[Finding]]:
    """Load an edge file. The configuration is None exactly when there are findings; never raises for a bad file."""

    def _check(raw: Any, model: EdgeConfig | None, found: Findings) -> EdgeConfig | None:
        _check_flows(raw, found, flows, path)
        return check_edge_sections(raw, model, found, connectors, _context(path))

    return load_file(path, EdgeConfig, _check, lambda raw, found: with_profiles(raw, connectors, found))


def load_hub(path: Path, flows: FlowKinds = NO_FLOWS) -> tuple[HubConfig | None, list[Finding]]:
    """Load a hub file, as `load_edge`."""

    def _check(raw: Any, model: HubConfig | None, found: Findings) -> HubConfig | None:
        _check_flows(raw, found, flows, path)
        check_hub(raw, found)
        return model

    return load_file(path, HubConfig, _check)


def load_up(
    path: Path, connectors: ConnectorTypes, flows: FlowKinds = NO_FLOWS
) -> tuple[UpConfig | None, list[Finding]]:
    """Load the file of a single machine, as `load_edge`."""

    def _check(raw: Any, model: UpConfig | None, found: Findings) -> UpConfig | None:
        _check_flows(raw, found, flows, path)
        check_hub(raw, found)
        return check_edge_sections(raw, model, found, connectors, _context(path))

    return load_file(path, UpConfig, _check, lambda raw, found: with_profiles(raw, connectors, found))


def load_any(
    path: Path, connectors: ConnectorTypes, flows: FlowKinds = NO_FLOWS
) -> tuple[EdgeConfig | HubConfig | UpConfig | None, list[Finding]]:
    """Load a file of whatever role, told by its sections."""
    role = role_of(path)
    if role == "up":
        return load_up(path, connectors, flows)
    return load_hub(path, flows) if role == "hub" else load_edge(path, connectors, flows)


def role_of(path: Path) -> Role:
    """ "up" with both sections `edge` and `hub`, else "hub" with `hub` only, else "edge" (also for a broken file)."""
    try:
        raw = parse_yaml(read_text(path)).plain()
    except ConfigError:
        return "edge"
    keys = set(raw) if isinstance(raw, dict) else set()
    return "up" if {"edge", "hub"} <= keys else "hub" if "hub" in keys else "edge"


def config_error(findings: list[Finding]) -> ConfigError:
    """The findings as one error, for programs that want an exception."""
    first, more = findings[0], len(findings) - 1
    return ConfigError(
        str(first) if not more else f"{first} (and {more} more)",
        next_step=f"run `millstream check {first.file}` for all",
        code=first.code,
    )


def load_file(
    path: Path, model_type: type[ConfigT], check: Callable[[Any, ConfigT | None, Findings], ConfigT | None],
    fill: Callable[[Any, Findings], Any] = lambda raw, found: raw,
) -> tuple[ConfigT | None, list[Finding]]:  # fmt: skip
    """Load a file of a model; `fill` adds what the file refers to, `check` what the model does not see. None exactly
    when there are findings."""
    try:
        text = read_text(path)
    except ConfigError as error:
        line = _line_of(error)
        message = f"{error.what}, got {error.got}" if error.got else error.what
        message = f"{message}, expected {error.expected}" if error.expected else message
        return None, [Finding(str(path), line, 1, "", message, error.next_step, error.code)]
    document = parse_yaml(text)
    findings = Findings(str(path), document)
    for trouble in document.troubles:
        findings.add_at(trouble.line, trouble.column, "", trouble.message, hint=trouble.hint)
    if document.root is None:
        return None, findings.sorted()
    raw = fill(document.plain(), findings)
    model = _validate(raw, model_type, findings, path)
    checked = check(raw, model, findings) if isinstance(raw, dict) else None
    return (checked if not findings else None), findings.sorted()


def _line_of(error: ConfigError) -> int:
    tail = (error.where or "").rpartition(":")[2]
    return int(tail) if tail.isdigit() else 1


def _validate(raw: Any, model_type: type[ConfigT], findings: Findings, path: Path) -> ConfigT | None:
    try:
        return model_type.model_validate(raw, context=_context(path))
    except ValidationError as error:
        findings.add_validation(error, model_type)
        return None


def _context(path: Path) -> dict[str, Any]:
    return {"folder": str(path.absolute().parent)}


def _check_flows(raw: Any, findings: Findings, kinds: FlowKinds, path: Path) -> None:
    check_flows(raw, findings, kinds)
    for loc, flows in flow_lists(raw):
        check_flow_rules(flows, loc, findings, _context(path))


EdgeLike = TypeVar("EdgeLike", EdgeConfig, UpConfig)


def check_edge_sections(
    raw: Any, model: EdgeLike | None, findings: Findings, connectors: ConnectorTypes, context: dict[str, Any]
) -> EdgeLike | None:
    """Check what the model of an edge file does not see. None when there are findings."""
    entries = raw.get("connectors")
    checked: list[ConnectorEntry] = []
    seen: dict[str, Loc] = {}  # places that have a tag
    edge = raw.get("edge")
    place = edge.get("path") if isinstance(edge, dict) else None
    for i, entry in enumerate(entries if isinstance(entries, list) else []):
        known = model.connectors[i] if model is not None else None
        if not isinstance(entry, dict):
            continue
        done = check_connector(
            entry,
            known,
            ("connectors", i),
            findings=findings,
            connectors=connectors,
            place=place,
            context=context,
            seen=seen,
        )
        if done is not None:
            checked.append(done)
    check_edge_names(raw, findings)
    if model is None or findings:
        return None
    return model.model_copy(update={"connectors": tuple(checked)})
