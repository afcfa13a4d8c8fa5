"""What can be known of a flow's own configuration without running it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from millstream.config._finding import Findings
from millstream.config._yaml import Loc
from millstream.kernel import suggest
from millstream.protocols.module import WASM


class FlowKind(Protocol):
    """A type of flow: the model of its configuration, and what that cannot tell."""

    @property
    def Config(self) -> type[BaseModel]:
        """The model of `config`."""
        ...

    def problem(self, config: Any) -> str | None:
        """What is wrong with a configuration that fits the model; None: nothing."""
        ...


FlowKinds = Mapping[str, FlowKind]
"""Types of flows by name. Without any, what stands in `config` is not looked at."""


def check_flows(raw: Any, findings: Findings, kinds: FlowKinds) -> None:
    """Check the sections of all flows in a file."""
    for section in ("flows", "hub_flows"):
        entries = raw.get(section) if kinds else None
        for i, entry in enumerate(entries if isinstance(entries, list) else []):
            if isinstance(entry, dict) and isinstance(entry.get("type"), str) and entry["type"] != WASM:
                _check(entry, (section, i), findings, kinds)


def _check(entry: dict[str, Any], loc: Loc, findings: Findings, kinds: FlowKinds) -> None:
    kind = kinds.get(entry["type"])
    if kind is None:
        near = suggest(entry["type"], kinds)
        hint = f"did you mean {near!r}?" if near else f"expected one of {', '.join(sorted(kinds))}"
        findings.add((*loc, "type"), f"unknown type of flow {entry['type']!r}", hint=hint)
        return
    place = (*loc, "config")
    try:
        config = kind.Config.model_validate(entry.get("config") or {})
    except ValidationError as error:
        findings.add_validation(error, kind.Config, place)
        return
    if problem := kind.problem(config):
        findings.add(place, problem)
