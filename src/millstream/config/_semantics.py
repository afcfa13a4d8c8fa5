"""What a schema cannot say: names that repeat, places outside the site, units, addresses, the connectors' own rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from millstream.config._edge import ConnectorEntry, MappedTag, TagConfig, join_path, map_tag
from millstream.config._finding import Findings
from millstream.config._units import unit_problem
from millstream.config._yaml import Loc
from millstream.kernel import ConfigError, DecodeError, suggest
from millstream.model import AssetPath
from millstream.protocols.uns_subject import tag_subject
from millstream.sdk import Connector, ConnectorTools


def check_connector(
    raw: Mapping[str, Any],
    entry: ConnectorEntry | None,
    loc: Loc,
    *,
    findings: Findings,
    connectors: Mapping[str, type[Connector]],
    place: object,
    context: dict[str, Any],
    seen: dict[str, Loc],
) -> ConnectorEntry | None:
    """Check one entry as far as its parts are valid. `entry` is None when the file has errors of form. The result has
    the connector's own configuration and options filled in."""
    cls = _connector_class(raw.get("type"), loc, findings, connectors)
    config = _own_config(cls, raw.get("config"), (*loc, "config"), findings, context) if cls is not None else None
    built = _build(cls, config, loc, findings) if cls is not None and config is not None else None
    site = _site(place)
    asset = _asset(site, site, raw.get("path"), (*loc, "path"), findings) if site is not None else None
    _check_units(raw, loc, findings)
    tags = _tags(raw, entry)
    done = [
        _check_tag(tag, (*loc, "tags", i), findings=findings, site=site, asset=asset, built=built, seen=seen)
        for i, tag in tags
    ]
    if entry is None or config is None:
        return None
    return entry.model_copy(update={"config": config, "tags": tuple(done)})


def check_edge_names(raw: Mapping[str, Any], findings: Findings) -> None:
    """Connector names once in an edge."""
    entries = raw.get("connectors")
    if not isinstance(entries, list):
        return
    _check_unique(entries, ("connectors",), "name", findings)


def check_hub(raw: Mapping[str, Any], findings: Findings) -> None:
    """Edge names once; places may nest, but not be the same."""
    edges = raw.get("edges")
    if isinstance(edges, list):
        _check_unique(edges, ("edges",), "name", findings)
        _check_unique(edges, ("edges",), "path", findings)


def _check_unique(items: list[Any], loc: Loc, key: str, findings: Findings) -> None:
    seen: dict[str, int] = {}
    for i, item in enumerate(items):
        value = item.get(key) if isinstance(item, dict) else None
        if isinstance(value, str) and seen.setdefault(value, i) != i:
            findings.add((*loc, i, key), f"{key} {value!r:.80} stands twice, first as {_short((*loc, seen[value]))}")


def _short(loc: Loc) -> str:
    return "".join(f"[{s}]" if isinstance(s, int) else f".{s}" if i else s for i, s in enumerate(loc) if s != "name")


def _connector_class(
    name: object, loc: Loc, findings: Findings, connectors: Mapping[str, type[Connector]]
) -> type[Connector] | None:
    if not isinstance(name, str):
        return None
    try:
        return connectors[name]
    except KeyError:
        near = suggest(name, connectors)
        hint = f"did you mean '{near}'?" if near else f"installed: {', '.join(sorted(connectors)) or 'none'}"
        findings.add((*loc, "type"), f"no connector {name!r:.60}", hint=hint)
    except ConfigError as error:
        findings.add((*loc, "type"), error.what, hint=error.next_step, code=error.code)
    return None


def _own_config(
    cls: type[Connector], raw: object, loc: Loc, findings: Findings, context: dict[str, Any]
) -> BaseModel | None:
    try:
        return cls.Config.model_validate(raw if raw is not None else {}, context=context)
    except ValidationError as error:
        findings.add_validation(error, cls.Config, loc)
        return None


def _build(cls: type[Connector], config: BaseModel, loc: Loc, findings: Findings) -> Connector | None:
    try:
        return cls(config, ConnectorTools())
    except ConfigError as error:
        findings.add((*loc, "config"), _message(error), hint=error.next_step, code=error.code)
    except Exception as error:  # noqa: BLE001 - a connector is foreign code; its bug is a finding, not a crash of the check
        findings.add((*loc, "config"), f"connector cannot be built: {type(error).__name__}: {error}"[:300])
    return None


def _message(error: ConfigError | DecodeError) -> str:
    parts = [error.what]
    if error.expected is not None:
        parts.append(f"expected {error.expected}")
    if error.got is not None:
        parts.append(f"got {error.got}")
    return ", ".join(parts)


def _site(place: object) -> AssetPath | None:
    try:
        return AssetPath.parse(place) if isinstance(place, str) else None
    except DecodeError:
        return None  # reported with the model


def _asset(site: AssetPath, base: AssetPath, text: object, loc: Loc, findings: Findings) -> AssetPath | None:
    """The place that `text` means below `base`, inside `site`."""
    if text is not None and not isinstance(text, str):
        return None
    try:
        found = join_path(site, base, text)
    except DecodeError as error:
        findings.add(loc, f"not a path: {_message(error)}")
        return None
    if not site.contains(found):
        findings.add(
            loc, f"{str(found)!r} lies outside the edge's path {str(site)!r}", hint="leave out the leading '/'"
        )
        return None
    return found


def _tags(raw: Mapping[str, Any], entry: ConnectorEntry | None) -> list[tuple[int, TagConfig]]:
    if entry is not None:
        return list(enumerate(entry.tags))
    found = []
    listed = raw.get("tags")
    for i, item in enumerate(listed if isinstance(listed, list) else []):
        try:
            found.append((i, TagConfig.model_validate(item)))
        except ValidationError:  # its errors of form stand in the report of the whole file
            continue
    return found


def _check_units(raw: Mapping[str, Any], loc: Loc, findings: Findings) -> None:
    listed = raw.get("tags")
    for i, item in enumerate(listed if isinstance(listed, list) else []):
        unit = item.get("unit") if isinstance(item, dict) else None
        if isinstance(unit, str) and (problem := unit_problem(unit)):
            findings.add((*loc, "tags", i, "unit"), problem)


def _check_tag(
    tag: TagConfig,
    loc: Loc,
    *,
    findings: Findings,
    site: AssetPath | None,
    asset: AssetPath | None,
    built: Connector | None,
    seen: dict[str, Loc],
) -> TagConfig:
    options = _own_options(tag, (*loc, "options"), findings, built)
    if options is not None:
        tag = tag.model_copy(update={"options": options})
    mapped = _place_tag(tag, loc, findings=findings, site=site, asset=asset)
    if mapped is not None and (first := seen.setdefault(mapped.tag.key, loc)) != loc:
        findings.add((*loc, "name"), f"tag {mapped.tag.key!r:.120} stands twice, first as {_short(first)}")
    if built is None or mapped is None or options is None:
        return tag
    try:
        built.check_tag(mapped.tag)
    except (ConfigError, DecodeError) as error:
        findings.add((*loc, "address"), _message(error), hint=error.next_step, code=error.code)
    except Exception as error:  # noqa: BLE001 - a connector is foreign code; its bug is a finding, not a crash of the check
        findings.add((*loc, "address"), f"cannot be checked: {type(error).__name__}: {error}"[:300])
    return tag


def _place_tag(
    tag: TagConfig, loc: Loc, *, findings: Findings, site: AssetPath | None, asset: AssetPath | None
) -> MappedTag | None:
    if site is None or asset is None:
        return None
    if tag.path is not None and _asset(site, asset, tag.path, (*loc, "path"), findings) is None:
        return None
    try:
        mapped = map_tag(site, asset, tag)
        tag_subject(mapped.path)
    except DecodeError as error:
        findings.add((*loc, "name"), f"{_message(error)}", hint="write it as group/.../name", code=error.code)
        return None
    return mapped


def _own_options(tag: TagConfig, loc: Loc, findings: Findings, built: Connector | None) -> dict[str, Any] | None:
    model = getattr(built, "TagOptions", None)
    if model is None:
        return dict(tag.options)
    try:
        checked = model.model_validate(tag.options)
    except ValidationError as error:
        findings.add_validation(error, model, loc)
        return None
    return {name: getattr(checked, name) for name in type(checked).model_fields}
