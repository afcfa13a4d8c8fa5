"""From metrics to tags, and what the configuration refuses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from millstream.connectors.sparkplug import SparkplugConfig, SparkplugConnector
from millstream.connectors.sparkplug._mapping import Mapper
from millstream.kernel import ConfigError
from millstream.protocols.sparkplug_host_model import MetricKey
from millstream.sdk import ConnectorTools, Tag

BASE = {"host": "h", "client_id": "c", "host_id": "c"}


def config(**more: Any) -> SparkplugConfig:
    """Valid, and more."""
    return SparkplugConfig.model_validate({**BASE, **more})


@pytest.mark.parametrize(
    ("rule", "address", "key"),
    [
        ({}, "g/n#a/b", "g/n/a/b"),
        ({}, "g/n/d#a", "g/n/d/a"),
        ({"path": "acme/{node}"}, "g/n/d#a", "acme/n:g/d/a"),
        ({"path": "acme/{group}/{node}/{device}"}, "g/n/d#a/b", "acme/g/n/d:a/b"),
        ({"path": "acme/{group}/{node}/{device}"}, "g/n#a/b", "acme/g/n:a/b"),
        ({"path": "acme/line-{node}"}, "g/n#a", "acme/line-n:g/a"),
        ({"filter": "g/+/#", "path": "acme/{node}"}, "g/n/d#a", "acme/n:d/a"),
        ({"filter": "g/n/d"}, "g/n/d#a/b", "a/b"),
        ({"path": "acme", "name": "{device}/{metric}"}, "g/n#a", "acme:a"),
        ({"path": "acme/{node}", "name": "x_{metric}"}, "g/n/d#a/b", "acme/n:x_a/b"),
        ({"path": "acme/{group}"}, "Plant 1:2/n#50% /x//y", "acme/Plant 1%3A2:n/50%25 /x/y"),
        (
            {"path": "a/{group}", "name": "{metric}"},
            "g/n#" + "/".join("abcdefghijklmn"),
            "a/g:a/b/c/d/e/f/g/h/i/j/k/l%2Fm%2Fn",
        ),
    ],
)
def test_a_rule_names_the_tag(rule: dict[str, str], address: str, key: str) -> None:
    mapper = Mapper(config(auto_map=[rule]), ())
    assert mapper.keys(MetricKey.parse(address)) == (key,)
    assert not mapper.faults


def test_the_first_rule_that_fits_counts_and_a_listed_tag_before_it() -> None:
    rules = [{"filter": "g/+", "path": "a"}, {"filter": "g/#", "path": "b"}]
    mapper = Mapper(config(auto_map=rules), (Tag("t1", "g/n#x"), Tag("t2", "g/n#x")))
    assert mapper.keys(MetricKey("g", "n", None, "x")) == ("t1", "t2")
    assert mapper.keys(MetricKey("g", "n", None, "y")) == ("a:n/y",)
    assert mapper.keys(MetricKey("g", "n", "d", "y")) == ("b:n/d/y",)
    assert mapper.keys(MetricKey("h", "n", "d", "y")) == ()


@pytest.mark.parametrize("name", ["///", "x" * 200, "a\nb"])
def test_a_name_that_no_tag_can_have_is_told_once(name: str) -> None:
    mapper = Mapper(config(auto_map=[{"path": "a/{group}/{node}"}]), ())
    for _ in range(3):
        assert mapper.keys(MetricKey("g", "n", None, name)) == ()
    assert len(mapper.faults) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"host_id": "a/b"},
        {"host_id": None},
        {"role": "edge_node"},
        {"role": "edge_node", "group": "g", "node": "n"},
        {"role": "edge_node", "group": "g", "node": "n", "base": "a//b"},
        {"role": "edge_node", "group": "g", "node": "n+", "base": "a"},
        {"host_id": ""},
        {"groups": ["a+"]},
        {"secret": {"env": "X"}},
        {"ca_file": "x.pem"},
        {"tls": True, "key": "x.pem"},
        {"version": "4"},
        {"rebirth_interval": "10ms"},
        {"auto_map": [{"filter": "a/#/b"}]},
        {"auto_map": [{"path": "acme/{nodes}"}]},
        {"auto_map": [{"path": "acme/{metric}"}]},
        {"auto_map": [{"path": "acme/{node!r}"}]},
        {"auto_map": [{"path": "acme/{node"}]},
        {"auto_map": [{"path": "acme//x"}]},
        {"auto_map": [{"name": "{node}"}]},
    ],
)
def test_a_configuration_that_cannot_work_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**more)


@pytest.mark.parametrize(
    "tag", [Tag("t", "g/n"), Tag("t", "#x"), Tag("t", "h/n#x"), Tag("t", "g/n#x", options={"data_type": "int"})]
)
def test_a_tag_that_cannot_be_is_refused(tag: Tag) -> None:
    made = SparkplugConnector(config(groups=["g"]), ConnectorTools())
    made.check_tag(Tag("t", "g/n#x"))
    with pytest.raises(ConfigError):
        made.check_tag(tag)


def test_an_edge_node_has_no_tags_of_its_own() -> None:
    made = SparkplugConnector(config(role="edge_node", group="g", node="n", base="acme/plant1"), ConnectorTools())
    with pytest.raises(ConfigError, match="no tags of its own"):
        made.check_tag(Tag("t", "g/n#x"))
