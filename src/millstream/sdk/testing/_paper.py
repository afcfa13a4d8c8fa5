"""Checks of what stands beside the code: README.md, sample.yaml, quality.yaml, configuration schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from millstream.sdk import Connector, ConnectorConfig, ConnectorTools, Tag
from millstream.sdk.testing._case import ConformanceCase

README_HEADINGS = ("Tested with", "Sample", "Limits", "Troubleshooting", "Security")
LEVELS = ("bronze", "silver", "gold", "platinum")
# What each level claims; a level claims those below it too. Names are those of the kit's checks.
CLAIMS: dict[str, tuple[str, ...]] = {
    "bronze": ("config_round_trip", "sample_is_fresh", "readme_is_complete", "capabilities", "open_close"),
    "silver": ("cancel_anywhere", "link_lost", "poison_frame", "bad_tag"),
    "gold": ("resume", "extremes", "clock_jump", "back_pressure"),
    "platinum": ("foreign_peer",),
}


def claimed(level: str) -> list[str]:
    """All claims of a level, those of lower levels included."""
    return [name for step in LEVELS[: LEVELS.index(level) + 1] for name in CLAIMS[step]]


def read_yaml(path: Path) -> Any:
    """A YAML file of the connector's folder; AssertionError when it is missing."""
    assert path.is_file(), f"{path.name} is missing in {path.parent}"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def check_readme(folder: Path) -> None:
    """Every heading is there with text below it."""
    path = folder / "README.md"
    assert path.is_file(), f"README.md is missing in {folder}"
    sections: dict[str, str] = {}
    title = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            title = line.lstrip("# ").strip()
            sections[title] = ""
        else:
            sections[title] = sections.get(title, "") + line.strip()
    missing = [name for name in README_HEADINGS if not sections.get(name)]
    assert not missing, f"README.md lacks these headings, or text below them: {', '.join(missing)}"


def check_sample(case: ConformanceCase) -> None:
    """The sample validates as it stands, its tags pass, and it names every option that the configuration has today."""
    path = case.folder / "sample.yaml"
    entry = read_yaml(path)
    if isinstance(entry, dict) and "connectors" in entry:
        entry = entry["connectors"]
    entry = entry[0] if isinstance(entry, list) else entry
    assert isinstance(entry, dict), "sample.yaml holds one connector entry: name, type, config, tags"
    assert entry.get("type") == case.connector.info.name, f"sample.yaml is of type {entry.get('type')!r}"
    config = case.connector.Config.model_validate(entry.get("config", {}), context={"folder": case.folder})
    connector = case.connector(config, ConnectorTools(name="sample"))
    tags = entry.get("tags", [])
    assert tags, "sample.yaml has no tags"
    for tag in tags:
        connector.check_tag(Tag(tag["name"], str(tag["address"]), options=tag.get("options", {})))
    text = path.read_text(encoding="utf-8")
    unnamed = [name for name in option_names(case.connector.Config) if f"{name}:" not in text]
    assert not unnamed, f"sample.yaml is stale, it does not name (not even in a comment): {', '.join(unnamed)}"


def option_names(config: type[ConnectorConfig]) -> list[str]:
    """The options as they are written in YAML."""
    return [info.alias or name for name, info in config.model_fields.items()]


def check_quality(case: ConformanceCase) -> None:
    """The claimed maturity is the connector's, each claim stands there, none is waived, each exemption has a reason."""
    quality = read_yaml(case.folder / "quality.yaml")
    assert isinstance(quality, dict), "quality.yaml holds maturity and claims"
    level = quality.get("maturity")
    assert level in LEVELS, f"quality.yaml: maturity {level!r}, expected one of {', '.join(LEVELS)}"
    assert level == _info(case.connector).maturity, f"quality.yaml says {level}, info {_info(case.connector).maturity}"
    claims = quality.get("claims", {})
    known = claimed("platinum")
    assert not set(claims) - set(known), f"quality.yaml: unknown claims {sorted(set(claims) - set(known))}"
    missing = [name for name in claimed(level) if name not in claims]
    assert not missing, f"quality.yaml: {level} needs claims for {', '.join(missing)}"
    for name, state in claims.items():
        _check_claim(case, level, name, state)


def _check_claim(case: ConformanceCase, level: str, name: str, state: object) -> None:
    if isinstance(state, dict):
        kind = next(iter(state), None)
        reason = str(state.get(kind, "")) if kind else ""
        assert kind in ("done", "exempt"), f"quality.yaml: {name} is {kind!r}, expected done, exempt or todo"
        assert len(reason) > 10, f"quality.yaml: {name}: {kind} needs evidence or a reason in words"
        assert kind == "done" or name not in CLAIMS["bronze"], f"quality.yaml: {name} cannot be exempt"
        state = kind
    assert state in ("done", "exempt", "todo"), f"quality.yaml: {name} is {state!r}"
    assert state != "done" or name not in case.waivers, f"quality.yaml claims {name}, but the case waives it"
    assert state != "todo" or name not in claimed(level), f"quality.yaml: {level} needs {name} to be done"


def _info(connector: type[Connector]) -> Any:
    return connector.info


def check_config_round_trip(case: ConformanceCase, config: dict[str, Any]) -> None:
    """YAML -> model -> YAML -> model is the identity; an unknown key is refused; every option is described."""
    model = case.connector.Config
    first = model.model_validate(config)
    text = yaml.safe_dump(first.model_dump(mode="json"))
    assert model.model_validate(yaml.safe_load(text)) == first, f"configuration does not survive a round trip: {text}"
    assert model.model_config.get("frozen"), "configuration is not frozen"
    try:
        model.model_validate({**config, "no_such_option": 1})
    except ValueError:
        pass
    else:
        raise AssertionError("an unknown option is accepted")
    schema = model.model_json_schema()
    bare = [
        name
        for name, entry in schema.get("properties", {}).items()
        if not entry.get("description") and "$ref" not in entry
    ]
    assert not bare, f"options without a description: {', '.join(bare)}"
