"""Device profiles in edge files: filled in before anything is checked, changed tag by tag."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from millstream.config import EdgeConfig, Finding, InstalledConnectors, load_edge, load_site_document, profiles_of
from millstream.config._profiles import _read
from millstream.config._site_document import SitePlace
from millstream.kernel import ConfigError

METER = {"name": "meter", "type": "modbus", "profile": "eastron_sdm630", "config": {"host": "192.0.2.1"}}


def edge_of(folder: Path, *entries: dict[str, Any]) -> tuple[EdgeConfig | None, list[Finding]]:
    """Of a file with these connectors."""
    path = folder / "edge.yaml"
    document = {"edge": {"name": "e1", "path": "acme/p1", "data_dir": "data"}, "connectors": list(entries)}
    path.write_text(json.dumps(document, indent=1))
    return load_edge(path, InstalledConnectors())


def test_a_profile_gives_tags_and_configuration(tmp_path: Path) -> None:
    config, findings = edge_of(tmp_path, METER)
    assert config is not None, findings
    (entry,) = config.connectors
    profile = profiles_of(InstalledConnectors()["modbus"])["eastron_sdm630"]
    assert [tag.name for tag in entry.tags] == [tag["name"] for tag in profile.tags]
    power = next(tag for tag in entry.tags if tag.name == "total/power")
    assert (power.address, power.unit) == ("input:52:float32", "W")
    assert getattr(entry.config, "registers_count_max") == 80  # noqa: B009 - a field of Modbus only


def test_the_file_changes_tags_key_by_key_adds_others_and_has_the_last_word_on_configuration(tmp_path: Path) -> None:
    own = {**METER, "config": {"host": "192.0.2.1", "registers_count_max": 40}}
    own["tags"] = [
        {"name": "total/power", "deadband": {"absolute": 5}, "unit": "kW", "scale": {"factor": 0.001}},
        {"name": "relay", "address": "coil:0"},
    ]
    config, findings = edge_of(tmp_path, own)
    assert config is not None, findings
    (entry,) = config.connectors
    tags = {tag.name: tag for tag in entry.tags}
    assert (tags["total/power"].address, tags["total/power"].unit) == ("input:52:float32", "kW")
    assert tags["relay"].address == "coil:0"
    assert len(entry.tags) == 67
    assert getattr(entry.config, "registers_count_max") == 40  # noqa: B009 - a field of Modbus only


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"profile": "eastron_sdm63"}, "connectors[0].profile", "did you mean 'eastron_sdm630'?"),
        ({"profile": 7}, "connectors[0].profile", "expected text"),
        ({"type": "sql", "config": {}}, "connectors[0].profile", "connector 'sql' has no profile"),
        ({"tags": [{"name": "total/power", "unit": "KW"}]}, "connectors[0].tags[0].unit", "did you mean"),
        ({"tags": [{"name": "total/power", "address": "input"}]}, "connectors[0].tags[0].address", "address"),
        ({"tags": [{"name": "new"}]}, "connectors[0].tags[0].address", "required key is missing"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(tmp_path: Path, change: dict[str, Any], path: str, message: str) -> None:
    config, findings = edge_of(tmp_path, {**METER, **change})
    assert config is None
    told = next(finding for finding in findings if finding.path == path)
    assert message in str(told)
    assert told.line > 1


def test_a_document_from_the_hub_may_name_a_profile() -> None:
    text = json.dumps({"connectors": [METER]})
    config = load_site_document(text, SitePlace("e1", "acme/p1"), InstalledConnectors())
    assert len(config.connectors[0].tags) == 66


@pytest.mark.parametrize(
    "text", ["device: x\nsource: y\n", "device: x\nsource: y\ntags: []\n", "a: [", "tags: 1\nx: 2\n"]
)
def test_a_file_that_is_no_profile_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ConfigError, match="meter"):
        _read("meter", text)
