"""Commands that write a value to a device that takes text: a template and what may be put into it. Pure, no I/O."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from millstream.kernel import ConfigError
from millstream.model import Value

COMMAND_BYTES_MAX = 1024
_PLACE = re.compile(r"\{value(?::([^{}]{1,20}))?\}")
_SAMPLES: tuple[Value, ...] = (1.5, 1, "x")  # one of these must fit a format that can ever be used


@dataclass(frozen=True, slots=True)
class Command:
    """``SP {value:.2f}\\r\\n`` in three parts: before, how to write the value, after."""

    before: str
    form: str
    after: str

    def encode(self, value: Value, encoding: str) -> bytes:
        """The bytes to send. Raises TypeError for a value that the template cannot hold, OverflowError for one that is
        too long or not finite.

        A text may not hold control characters: they could end the command and begin another.
        """
        if isinstance(value, list | dict | bytes):
            raise TypeError("expected a number, a text, true or false")
        if isinstance(value, float) and not math.isfinite(value):
            raise OverflowError("expected a finite number")
        if isinstance(value, bool):
            value = int(value)
        try:
            text = format(value, self.form)
        except ValueError as error:
            raise TypeError(f"value does not fit the format {self.form!r} of the command") from error
        if not text.isprintable():
            raise TypeError("expected text without control characters")
        try:
            raw = text.encode(encoding)
        except UnicodeEncodeError as error:
            raise TypeError(f"expected characters of {encoding}") from error
        whole = self.before.encode("latin-1") + raw + self.after.encode("latin-1")
        if len(whole) > COMMAND_BYTES_MAX:
            raise OverflowError(f"expected at most {COMMAND_BYTES_MAX} bytes with the command around it")
        return whole


def parse_command(template: str) -> Command:
    """The template in its parts. Raises ConfigError unless it has exactly one ``{value}``, maybe with a format."""
    parts = _PLACE.split(template)
    is_one = len(parts) == 3 and not any(brace in parts[0] + parts[2] for brace in "{}")
    if not is_one or any(ord(character) > 255 for character in parts[0] + parts[2]):
        raise _refuse(template)
    command = Command(parts[0], parts[1] or "", parts[2])
    if not any(_fits(command, sample) for sample in _SAMPLES):
        raise _refuse(template)
    return command


def _fits(command: Command, sample: Value) -> bool:
    try:
        command.encode(sample, "utf-8")
    except (TypeError, OverflowError):
        return False
    return True


def _refuse(template: str) -> ConfigError:
    return ConfigError(
        "not a command with a value in it",
        expected="bytes with one {value} or {value:.2f} in them",
        got=repr(template),
        code="MS-1900",
    )
