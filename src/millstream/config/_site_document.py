"""The part of an edge file that may come from afar: connectors, flows and streams, checked as the file is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from millstream.config._edge import EdgeConfig
from millstream.config._finding import Finding, Findings
from millstream.config._flow_check import FlowKinds, check_flows
from millstream.config._flow_rules import check_flow_rules
from millstream.config._load import NO_FLOWS, ConnectorTypes, check_edge_sections
from millstream.config._profiles import with_profiles
from millstream.config._yaml import Document, parse_yaml
from millstream.kernel import ConfigError
from millstream.sdk import SecretRef

MANAGED_SECTIONS = ("connectors", "flows", "streams")
_LOCAL_SECTIONS = tuple(name for name in EdgeConfig.model_fields if name not in MANAGED_SECTIONS)
_ONLY_THERE = ("MS-0102", "MS-0103", "MS-0106")  # a file, a secret, an installed extra: only the edge can know


@dataclass(frozen=True, slots=True)
class SitePlace:
    """Where a document is to hold. Without `local`, the edge's own file, it is checked from afar: what only the edge
    can know is left to it. `folder` is that of the edge's file."""

    name: str
    path: str
    local: EdgeConfig | None = None
    folder: Path | None = None


class DocumentRefused(ConfigError):
    """A document that a site must not be given, with all that is wrong in it."""

    default_code = "MS-2400"

    def __init__(self, findings: Sequence[Finding], *, code: str) -> None:
        first, more = findings[0], len(findings) - 1
        super().__init__(
            str(first) if not more else f"{first} (and {more} more)", next_step="correct the document", code=code
        )
        self.findings = tuple(findings)


def load_site_document(
    text: str | Document, place: SitePlace, connectors: ConnectorTypes, flows: FlowKinds = NO_FLOWS, *,
    file: str = "document",
) -> EdgeConfig:  # fmt: skip
    """What the edge would run with `text` in the place of its own sections. Raises DocumentRefused with all findings;
    its code is that of the gravest: MS-2416 no YAML that is accepted, MS-2405 a section that stays at the site,
    MS-2417 a file name that leads out, MS-2400 anything else."""
    document = parse_yaml(text) if isinstance(text, str) else text
    findings = Findings(file, document)
    for trouble in document.troubles:
        findings.add_at(trouble.line, trouble.column, "", trouble.message, hint=trouble.hint, code="MS-2416")
    raw = document.plain() if document.root is not None else None
    config = _check(raw, place, connectors, flows, findings, document) if isinstance(raw, dict) else None
    if document.root is not None and not isinstance(raw, dict):
        findings.add((), "expected a mapping with connectors, flows and streams", code="MS-2416")
    found = findings.sorted()
    if place.local is None:
        found = [finding for finding in found if finding.code not in _ONLY_THERE]
    if found:
        raise DocumentRefused(found, code=_gravest(found))
    if config is None:
        raise ConfigError("the document cannot be checked here", where=place.name, code="MS-2400")
    return config


def _gravest(findings: Sequence[Finding]) -> str:
    codes = {finding.code for finding in findings}
    return next((code for code in ("MS-2416", "MS-2405", "MS-2417") if code in codes), "MS-2400")


def _check(
    raw: dict[str, Any], place: SitePlace, connectors: ConnectorTypes, flows: FlowKinds, findings: Findings,
    document: Document,
) -> EdgeConfig | None:  # fmt: skip
    for name in raw:
        if name in _LOCAL_SECTIONS:
            findings.add(
                (name,), f"section {name!r} stays in the edge's own file", hint="leave it out here", of_key=True,
                code="MS-2405",
            )  # fmt: skip
    local = place.local
    identity = {"name": place.name, "path": place.path, "data_dir": "data"}
    whole = {**{key: value for key, value in raw.items() if key not in _LOCAL_SECTIONS}, "edge": identity}
    context = site_context(place)
    whole = with_profiles(whole, connectors, findings)
    try:
        model: EdgeConfig | None = EdgeConfig.model_validate(whole, context=context)
    except ValidationError as error:
        findings.add_validation(error, EdgeConfig)
        model = None
    check_flows(whole, findings, flows)
    if isinstance(listed := whole.get("flows"), list):
        check_flow_rules(listed, ("flows",), findings, context)
    checked = check_edge_sections(whole, model, findings, connectors, context)
    if local is None or checked is None:
        return model
    for loc, missing in _missing_secrets(checked):
        findings.add(loc, missing.what, hint=missing.where, code=missing.code)
    own = {name: getattr(local, name) for name in _LOCAL_SECTIONS}
    return checked.model_copy(update=own)


def site_context(place: SitePlace) -> dict[str, Any]:
    """What the models are told: file names are taken from the folder of the edge's file and stay in what it allows."""
    if place.folder is None or place.local is None:
        return {"roots": ()}
    folder = place.folder.absolute()
    return {"folder": str(folder), "roots": (folder, *(root.absolute() for root in place.local.managed.roots))}


def _missing_secrets(config: EdgeConfig) -> Iterator[tuple[tuple[str | int, ...], ConfigError]]:
    """Secrets that are referred to and are not there."""
    for name in MANAGED_SECTIONS:
        yield from _secrets_of(getattr(config, name), (name,))


def _secrets_of(value: object, loc: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], ConfigError]]:
    if isinstance(value, SecretRef):
        try:
            value.resolve()
        except ConfigError as error:
            yield loc, error
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets_of(getattr(value, name), (*loc, name))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _secrets_of(item, (*loc, str(name)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _secrets_of(item, (*loc, index))
