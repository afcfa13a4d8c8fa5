"""What connectors say about a tag that cannot be."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, Field

from millstream.kernel import ConfigError, DecodeError
from millstream.sdk import Tag, checked_address, checked_options, refuse_options


class Options(BaseModel):
    """Of a tag."""

    model_config = ConfigDict(extra="forbid")

    priority: int = Field(default=16, ge=1, le=16)
    cov: bool = False


def test_good_options_come_as_their_model() -> None:
    assert checked_options(Tag("t", "a", options={"priority": 3}), Options) == Options(priority=3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"priority": 17}, "priority: Input should be less than or equal to 16, expected priority, cov, got 17"),
        ({"prio": 1}, "prio: Extra inputs are not permitted, expected priority, cov, got 1"),
    ],
)
def test_a_wrong_option_is_named_with_its_tag(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked_options(Tag("hall/temperature", "a", options=options), Options, "MS-1401")
    assert str(caught.value) == f"tag 'hall/temperature' has wrong options: {said} [MS-1401]"


def test_an_address_that_cannot_be_read_is_named_with_its_tag() -> None:
    with pytest.raises(ConfigError) as caught, checked_address(Tag("t", "DB1"), expected="DB1.DBX0.0"):
        raise DecodeError("address breaks off")
    assert str(caught.value) == "tag 't': address breaks off, expected DB1.DBX0.0, got 'DB1' [MS-0105]"


def test_options_where_there_are_none_are_refused() -> None:
    refuse_options(Tag("t", "a"))
    with pytest.raises(ConfigError, match="tag 't' has options, expected none, got cov"):
        refuse_options(Tag("t", "a", options={"cov": True}))
