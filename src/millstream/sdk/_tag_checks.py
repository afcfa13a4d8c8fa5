"""What the `check_tag` of connectors have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from millstream.kernel import ConfigError, DecodeError
from millstream.sdk._contract import Tag

MALFORMED_TAG = "MS-0105"
M = TypeVar("M", bound=BaseModel)


@contextmanager
def checked_address(
    tag: Tag, code: str = MALFORMED_TAG, *, expected: str | None = None, next_step: str | None = None
) -> Iterator[None]:
    """Parse an address in here: a DecodeError is a ConfigError which names the tag. `expected` where it says none."""
    try:
        yield
    except DecodeError as error:
        raise ConfigError(
            f"tag {tag.key!r}: {error.what}",
            expected=error.expected or expected,
            got=error.got or repr(tag.address),
            next_step=next_step,
            code=code,
        ) from error


def checked_options(tag: Tag, model: type[M], code: str = MALFORMED_TAG) -> M:
    """The options of a tag. Raises ConfigError that names the tag and the first option that cannot be."""
    try:
        return model.model_validate(dict(tag.options))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"tag {tag.key!r} has wrong options: {place + ': ' if place else ''}{first['msg']}",
            expected=", ".join(model.model_fields),
            got=repr(first["input"])[:100],
            code=code,
        ) from error


def refuse_options(tag: Tag, code: str = MALFORMED_TAG) -> None:
    """For connectors whose tags have no options. Raises ConfigError."""
    if tag.options:
        raise ConfigError(f"tag {tag.key!r} has options", expected="none", got=", ".join(tag.options), code=code)
