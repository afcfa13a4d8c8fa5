"""What can be known of a flow's own configuration without running it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from millstream.config._finding import Findings
from millstream.config._yaml import Loc
from millstream.kernel import suggest
from millstream.protocols.module import MODEL, WASM


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


def flow_lists(raw: Mapping[str, Any]) -> Iterator[tuple[Loc, list[Any]]]:
    """The lists of flows in a file, each of one node or of one tenant, and where they stand."""
    found: list[tuple[Loc, Any]] = [((section,), raw.get(section)) for section in ("flows", "hub_flows")]
    tenants = raw.get("tenants")
    for name, tenant in tenants.items() if isinstance(tenants, Mapping) else ():
        if isinstance(tenant, Mapping):
            found.append((("tenants", str(name), "flows"), tenant.get("flows")))
    for loc, entries in found:
        if isinstance(entries, list):
            yield loc, entries


def check_flows(raw: Any, findings: Findings, kinds: FlowKinds) -> None:
    """Check the sections of all flows in a file."""
    for loc, entries in flow_lists(raw) if kinds else ():
        for i, entry in enumerate(entries):
            if isinstance(entry, dict) and isinstance(entry.get("type"), str) and entry["type"] not in (WASM, MODEL):
                _check(entry, (*loc, i), findings, kinds)


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
