"""Commands that write a value: what a template may be, and what may be put into it."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.kernel import ConfigError
from millstream.model import Value
from millstream.protocols.text_command import COMMAND_BYTES_MAX, parse_command


@pytest.mark.parametrize(
    ("template", "value", "sent"),
    [
        ("SP {value:.2f}\r\n", 12.5, b"SP 12.50\r\n"),
        ("SP {value:.2f}\r\n", 3, b"SP 3.00\r\n"),
        ("\x02T{value:06d}\x03", 42, b"\x02T000042\x03"),
        ("{value}", "LOT 7", b"LOT 7"),
        ("R{value}\n", True, b"R1\n"),
        ("R{value:>8}\n", "ab", b"R      ab\n"),
        ("\xff{value}", 1, b"\xff1"),
    ],
)
def test_a_value_is_put_into_its_place(template: str, value: Value, sent: bytes) -> None:
    assert parse_command(template).encode(value, "ascii") == sent


@pytest.mark.parametrize(
    "template",
    [
        "",
        "SP\r\n",
        "{value}{value}",
        "{other}",
        "{value.real}",
        "{value!r}",
        "{value:{value}}",
        "{",
        "{}",
        "{value:q}",
        "€{value}",
    ],
)
def test_a_template_without_exactly_one_value_is_refused(template: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_command(template)
    assert caught.value.code == "MS-1900"


@pytest.mark.parametrize(
    ("template", "value", "error"),
    [
        ("SP {value}\r\n", "1\r\nRESET", TypeError),
        ("SP {value}\r\n", "\x1b", TypeError),
        ("SP {value:.2f}\r\n", "1", TypeError),
        ("SP {value:d}\r\n", 1.5, TypeError),
        ("SP {value}\r\n", [1], TypeError),
        ("SP {value}\r\n", b"1", TypeError),
        ("SP {value}\r\n", "ä", TypeError),
        ("SP {value}\r\n", math.nan, OverflowError),
        ("SP {value}\r\n", math.inf, OverflowError),
        ("SP {value}\r\n", "x" * COMMAND_BYTES_MAX, OverflowError),
    ],
)
def test_a_value_that_could_be_another_command_or_is_none_is_refused(
    template: str, value: Value, error: type[Exception]
) -> None:
    with pytest.raises(error):
        parse_command(template).encode(value, "ascii")


@given(st.one_of(st.text(max_size=40), st.integers(), st.floats(), st.booleans()))
def test_no_value_ends_the_command_before_its_end(value: Value) -> None:
    with contextlib.suppress(TypeError, OverflowError):
        sent = parse_command("SP {value}\r\n").encode(value, "utf-8")
        assert sent.startswith(b"SP ")
        assert sent.index(b"\r") == len(sent) - 2
        assert sent.index(b"\n") == len(sent) - 1
