"""What there is below a place: subjects that fit patterns, the last message of each, and what is said of tags."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from millstream.client._paths import to_address, to_entry
from millstream.client._reading import Reading, last_reading
from millstream.client._streams import StoredFrame, Streams, newest
from millstream.client._tree import TagEntry
from millstream.kernel import beside_one_another
from millstream.protocols.uns_pattern import KINDS, Pattern, contract_of
from millstream.protocols.uns_subject import PREFIX, decode_subject

STREAMS_AT_ONCE = 8  # of a node; it has a few


class Namespace:
    """The unified namespace as the streams of one node hold it. Units of tags are read once and kept."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._units: dict[str, str] | None = None

    async def last_frames(self, patterns: Sequence[Pattern], contract: str) -> Mapping[str, StoredFrame]:
        """By subject the last message of each tag that fits."""
        exact = {pattern.subject_filter(contract) for pattern in patterns if pattern.is_exact}

        async def of_stream(stream: str) -> Sequence[StoredFrame]:
            """What this one has."""
            subjects = set(exact)
            for pattern in patterns:
                if not pattern.is_exact:
                    subjects.update((await self._subjects(stream, pattern, contract)).keys())
            return await self._streams.last(stream, sorted(subjects))

        streams = await self._streams.of_data(with_local=True)
        found = await beside_one_another(of_stream, streams, at_once=STREAMS_AT_ONCE)
        return newest(frame for frames in found for frame in frames)

    async def value_of(self, path: str) -> Reading | None:
        """The last reading of one tag, without the unit that its description may name; None: there is none. It takes
        two round trips."""
        frames = await self.last_frames([Pattern.parse(path)], contract_of("tag"))
        for frame in frames.values():
            return last_reading(path, frame.payload, frame.headers)
        return None

    async def tags(self, patterns: Sequence[Pattern], kind: str | None) -> list[TagEntry]:
        """Every tag that fits, with its description, by path; `kind` None means every kind but descriptions."""
        counts: dict[tuple[str, str], int] = {}
        for stream in await self._streams.of_data(with_local=True):
            for pattern in patterns:
                found = await self._subjects(stream, pattern, None if kind is None else contract_of(kind))
                for subject, count in found.items():
                    address = decode_subject(subject)
                    key = (str(address.tag), address.contract[1:])
                    counts[key] = max(count, counts.get(key, 0))
        described = await self._descriptions()
        return [
            to_entry(path, of_kind, count, described.get(path, {}))
            for (path, of_kind), count in sorted(counts.items())
            if of_kind != "meta" or kind == "meta"
        ]

    async def units(self) -> Mapping[str, str]:
        """The units of tags as they were described last when somebody looked."""
        if self._units is None:
            await self._descriptions()
        assert self._units is not None
        return self._units

    async def _descriptions(self) -> Mapping[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        for subject, frame in (await self.last_frames([Pattern.parse("**:**")], "_meta")).items():
            try:
                raw = json.loads(frame.payload)
            except ValueError:
                continue  # a description that cannot be read describes nothing
            if isinstance(raw, dict):
                found[str(decode_subject(subject).tag)] = raw
        self._units = {path: raw["unit"] for path, raw in found.items() if isinstance(raw.get("unit"), str)}
        return found

    async def _subjects(self, stream: str, pattern: Pattern, contract: str | None) -> Mapping[str, int]:
        """Subjects of a stream that fit; `contract` None means any that carries plant data."""
        contracts = {f"_{kind}" for kind in KINDS} if contract is None else {contract}
        subject_filter = f"{PREFIX}>" if contract is None else pattern.subject_filter(contract)
        found = await self._streams.subjects(stream, subject_filter)
        return {
            subject: count
            for subject, count in found.items()
            if (address := to_address(subject)) is not None
            and address.contract in contracts
            and pattern.matches(address)
        }
