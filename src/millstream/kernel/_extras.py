"""Libraries that come with an extra of this project and may be missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from millstream.kernel._errors import ConfigError


@contextmanager
def needs_extra(what: str, extra: str) -> Iterator[None]:
    """Imports in here: a library that is not there is a ConfigError which names it and the extra that brings it.

    `what` needs the library, e.g. "the S7 connector". What is missing of ours stays the fault that it is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "millstream":
            raise
        raise ConfigError(
            f"{what} needs {error.name}, which is not installed",
            next_step=f"pip install 'millstream[{extra}]'",
            code="MS-0106",
        ) from error
