"""What a connector gives the kit: a case that starts its peer device, and the peer's levers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from millstream.model import Value
from millstream.sdk import Connector, Tag, Write


class NotApplicable(Exception):
    """The check asks for something that this kind of connector does not have; the text says what."""


@dataclass(frozen=True, slots=True)
class ExpectedValue:
    """A tag whose value is at the edge of its type, and what a session must give for it (NaN equals NaN)."""

    tag: Tag
    value: Value


@dataclass
class Peer:
    """A running device (or file) that the connector talks to, with levers that break it. Subclass and override.

    `config` is what stands under ``config:`` in YAML; `tags` are good ones that deliver within seconds.
    """

    config: Mapping[str, Any]
    tags: Sequence[Tag]
    bad_tag: Tag | None = None
    extremes: Sequence[ExpectedValue] = ()
    writes: Sequence[Write] = ()
    samples_count: int = 0
    """For sources that rewind: how many samples a whole run from the start gives."""
    is_tcp: bool = True
    """Where the configuration has ``host`` and ``port``, the session connects there by TCP."""
    is_endless: bool = False
    """The source goes on behind `samples_count`; only that many are compared."""
    notes: dict[str, Any] = field(default_factory=dict)

    async def produce(self) -> None:
        """Make the device report at least one new value of each of `tags`. The default: it does so by itself."""

    async def break_link(self) -> None:
        """Drop every connection and refuse new ones, until `restore_link`."""
        raise NotApplicable("this source has no link that could break")

    async def restore_link(self) -> None:
        """Accept connections again."""

    async def poison(self) -> None:
        """Send the connected session one frame that its protocol does not allow."""
        raise NotApplicable("this source has no frames that could be poisoned")

    async def flood(self, limit_bytes: int) -> int:
        """Send as much as the session takes, at most `limit_bytes`; give up once it takes no more for a second.

        Returns the bytes taken, kernel buffers included.
        """
        raise NotApplicable("the runtime asks for each value, so nothing can pile up")


class ConformanceCase:
    """One way of running a connector against a peer. Subclass, set the class attributes, give `peer`."""

    connector: ClassVar[type[Connector]]
    folder: ClassVar[Path]
    """The connector's package: README.md, sample.yaml and quality.yaml lie there."""
    waivers: ClassVar[Mapping[str, str]] = {}
    """Check name -> reason why it cannot hold yet. A waiver of a check that holds fails as stale."""
    deadline_s: ClassVar[float] = 30.0
    """How long one operation against the peer may take on a loaded machine."""
    back_pressure_bytes_max: ClassVar[int] = 16 << 20
    """What may be under way while nobody consumes: kernel socket buffers on both sides plus the connector's own."""

    def peer(self) -> AbstractAsyncContextManager[Peer]:
        """Start the device on a free port, stop it on exit."""
        raise NotImplementedError
