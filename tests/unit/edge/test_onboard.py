"""The file that onboarding writes is read back as what was proposed; lists of addresses are read as they are meant."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.config._yaml import parse_yaml
from millstream.edge import SurveyOptions, TagProposal, onboarded_file, parse_addresses, survey
from millstream.kernel import ConfigError, PlantError
from millstream.model import BAD_NODE_ID_UNKNOWN, GOOD, Sample
from millstream.sdk import Batch, Connector, ConnectorInfo, NodeInfo, Tag
from millstream.sdk.testing import LoopClock, run_virtual

RAW = {
    "edge": {"name": "e1", "path": "acme/plant1", "data_dir": "./data"},
    "connectors": [
        {"name": "other", "type": "modbus", "config": {"host": "10.0.0.9"}, "tags": [{"name": "a", "address": "1e3"}]},
        {"name": "mine", "type": "opcua", "path": "old", "config": {"endpoint": "opc.tcp://a:4840"}, "tags": []},
    ],
}
text = st.text(  # no half of a pair, which UTF-8 cannot hold
    st.characters(exclude_categories=("Cs",)), max_size=30
)
numbers = st.one_of(st.none(), st.floats(1e-300, 1e300).map(lambda value: float(f"{value:.0e}")))


@settings(max_examples=50)
@given(
    st.lists(
        st.builds(TagProposal, text, text, unit=text, deadband=numbers, description=text, data_type=text), max_size=5
    )
)
def test_what_is_written_is_read_back(proposals: list[TagProposal]) -> None:
    document = parse_yaml(onboarded_file(RAW, "mine", "cell/mine", proposals))
    assert document.troubles == []
    found = document.plain()
    assert found["edge"] == RAW["edge"]
    other, mine = found["connectors"]
    assert other == RAW["connectors"][0]  # type: ignore[index]
    assert (mine["path"], mine["config"]) == ("cell/mine", {"endpoint": "opc.tcp://a:4840"})
    assert [(t["name"], t["address"], t.get("unit", ""), t.get("description", "")) for t in mine["tags"]] == [
        (p.name, p.address, p.unit, p.description) for p in proposals
    ]
    for tag, proposal in zip(mine["tags"], proposals, strict=True):
        if proposal.deadband is not None:
            assert math.isclose(tag["deadband"]["absolute"], proposal.deadband)


def test_what_the_device_does_not_have_stands_in_a_comment() -> None:
    gone = TagProposal("a", "a", quality="BadNodeIdUnknown", is_left_out=True)
    written = onboarded_file(RAW, "mine", "cell", [gone])
    assert "# - " in written
    assert parse_yaml(written).plain()["connectors"][1]["tags"] == []
    written = onboarded_file(RAW, "mine", "cell", [gone, TagProposal("b", "b")])
    assert [tag["name"] for tag in parse_yaml(written).plain()["connectors"][1]["tags"]] == ["b"]


def test_deadbands_can_be_left_out() -> None:
    written = onboarded_file(RAW, "mine", "cell", [TagProposal("a", "a", deadband=0.5)], with_deadbands=False)
    assert "deadband" not in written


def test_addresses_are_csv_with_what_is_known() -> None:
    found = parse_addresses(
        'address,name,unit\n# boiler\nholding:10:float32, Steam temp, °C\n\n"40015:uint32"\n'
        'coil:0,pump,,"left, below"\n',
        "x",
    )
    assert found == [
        NodeInfo("holding:10:float32", "Steam temp", unit="°C"),
        NodeInfo("40015:uint32", "40015:uint32"),
        NodeInfo("coil:0", "pump", description="left, below"),
    ]


@pytest.mark.parametrize("wrong", ["", "# only\n", ",name\n", "a,b,c,d,e\n", "a\na\n", '"a\n'])
def test_a_list_that_cannot_be_read_is_refused_with_its_line(wrong: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_addresses(wrong, "x.csv")
    assert caught.value.code == "MS-2110"
    assert "x.csv" in str(caught.value)


class Press:
    """A device with two tags; `kind` says how it gives values."""

    info = ConnectorInfo("press", "", "")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.count = 0

    def check_tag(self, tag: Tag) -> None:
        if tag.address == "wrong":
            raise ConfigError("no address")

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Any, None]:
        yield {"polled": Polls(self), "streamed": Streams(self), "mute": object()}[self.kind]

    def samples(self, tags: Sequence[Tag]) -> list[Sample]:
        self.count += 1
        return [
            Sample(tag.key, float(self.count % 3), GOOD)
            if tag.key != "gone"
            else Sample("gone", None, BAD_NODE_ID_UNKNOWN)
            for tag in tags
        ]


class Browses:
    def __init__(self, press: Press) -> None:
        self.press = press

    async def browse(self, root: str | None = None) -> AsyncGenerator[NodeInfo, None]:
        for name in ("SpeedRPM", "gone", "wrong"):
            yield NodeInfo(name, name)


class Polls(Browses):
    async def read(self, tags: Sequence[Tag]) -> Sequence[Sample]:
        return self.press.samples(tags)


class Streams(Browses):
    async def stream(self, tags: Sequence[Tag], resume: object) -> AsyncGenerator[Batch, None]:
        import asyncio

        while True:
            yield Batch(self.press.samples(tags))
            await asyncio.sleep(0.1)


def seen(kind: str, **options: Any) -> Any:
    return run_virtual(survey(cast("Connector", Press(kind)), SurveyOptions(**options), LoopClock()))


@pytest.mark.parametrize("kind", ["polled", "streamed"])
def test_values_are_observed_in_the_session_that_listed_them(kind: str) -> None:
    found = {p.address: p for p in seen(kind).proposals}
    assert found["SpeedRPM"].values_count >= 20
    assert found["SpeedRPM"].deadband is not None
    assert found["gone"].is_left_out
    assert (found["wrong"].values_count, found["wrong"].is_left_out) == (0, False)


def test_without_looking_there_are_no_values() -> None:
    assert [p.values_count for p in seen("polled", observe_s=0.0).proposals] == [0, 0, 0]


def test_given_addresses_are_not_asked_for() -> None:
    assert [p.address for p in seen("polled", nodes=[NodeInfo("a", "a")]).proposals] == ["a"]


def test_the_limit_is_told() -> None:
    found = seen("polled", limit=2)
    assert (len(found.proposals), found.is_complete) == (2, False)


def test_a_device_that_lists_nothing_says_so() -> None:
    with pytest.raises(PlantError) as caught:
        seen("mute")
    assert caught.value.code == "MS-0501"
