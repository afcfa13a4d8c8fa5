"""A session with a BACnet device: subscribe what it reports by itself, read the rest at its sampling intervals."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field

from millstream.connectors.bacnet._browsing import nodes_of
from millstream.connectors.bacnet._changes import Changes
from millstream.connectors.bacnet._config import BacnetConfig, BacnetTagOptions
from millstream.connectors.bacnet._device import Device, Reading
from millstream.connectors.bacnet._link import BacnetLink, Refused
from millstream.connectors.bacnet._values import encode
from millstream.model import BAD_OUT_OF_RANGE, BAD_TYPE_MISMATCH, Sample
from millstream.protocols.bacnet_plan import Property, Trouble, parse_address
from millstream.sdk import Batch, ConnectorTools, NodeInfo, Position, Tag, Write, WriteResult, write_in_turn

REFUSALS_COUNT_MAX = 3  # in a row, without any success: then the device has no subscriptions at all


@dataclass(slots=True)
class _Work:
    """What one stream has to do and when, on the monotonic clock."""

    tags: dict[Property, list[str]] = field(default_factory=dict)
    polled: dict[Property, float] = field(default_factory=dict)
    due_ns: dict[float, int] = field(default_factory=dict)
    subscribed: dict[Property, float] = field(default_factory=dict)
    last: dict[Property, Reading] = field(default_factory=dict)
    silent: set[Property] = field(default_factory=set)
    renew_due_ns: int = 0
    watch_due_ns: int = 0


class BacnetSession:
    """Streamed, Polled (to read back what was written), Writable, Browsable, SourceCounted."""

    def __init__(self, link: BacnetLink, device: Device, config: BacnetConfig, tools: ConnectorTools) -> None:
        self._link = link
        self._device = device
        self._config = config
        self._tools = tools
        self._changes = Changes()
        self._kinds: dict[Property, int] = {}
        link.listen(self._changes.take)

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        """Every value once, then changes as they come and what is polled. A device cannot rewind.

        Raises Unreachable when it does not answer any more.
        """
        work = _Work()
        for tag in tags:
            item = parse_address(tag.address)
            work.tags.setdefault(item, []).append(tag.key)
            interval_s = min(tag.sampling_interval_s, work.polled.get(item, tag.sampling_interval_s))
            work.polled[item] = interval_s
        yield self._batch(work, await self._read(work, work.tags))
        self._schedule(work)
        await self._subscribe_all(work, tags)
        while True:
            await self._changes.wait(self._until_due_s(work))
            for readings in (self._take_changes(work), await self._do_due(work)):
                if readings or self._link.has_broken:
                    yield self._batch(work, readings)

    async def read(self, tags: Sequence[Tag]) -> Sequence[Sample]:
        """One sample a tag, in order, asked for now. Raises Unreachable."""
        items = [parse_address(tag.address) for tag in tags]
        found = await self._device.read(items)
        return [Sample(tag.key, *found[item]) for tag, item in zip(tags, items, strict=True)]

    def _batch(self, work: _Work, readings: Iterable[tuple[Property, Reading]]) -> Batch:
        samples = [
            Sample(key, value, quality) for item, (value, quality) in readings for key in work.tags.get(item, ())
        ]
        return Batch(samples, frames_bad=self._link.take_broken())

    async def _read(self, work: _Work, items: Iterable[Property]) -> list[tuple[Property, Reading]]:
        found = list((await self._device.read(items)).items())
        work.last.update(found)
        return found

    def _schedule(self, work: _Work) -> None:
        now_ns = self._now_ns()
        for interval_s in set(work.polled.values()):
            work.due_ns.setdefault(interval_s, now_ns + int(interval_s * 1e9))

    async def _subscribe_all(self, work: _Work, tags: Sequence[Tag]) -> None:
        """Of what the device reports, only the watchdog reads; what it refuses stays polled."""
        if not self._config.cov:
            return
        refused_tags = {parse_address(tag.address) for tag in tags if not _options(tag).cov}
        wanted = [item for item in work.tags if item.has_flags and item not in refused_tags]
        self._changes.want(wanted)
        refusals = 0
        for item in wanted:
            if work.last[item][1].is_bad and work.last[item][0] is None:
                continue  # an object that is not there; when it comes, it is polled
            try:
                await self._device.subscribe(item, self._config.cov_lifetime)
            except Refused as refusal:
                refusals += 1
                is_none = refusal.trouble is Trouble.UNSUPPORTED
                if is_none or (refusals >= REFUSALS_COUNT_MAX and not work.subscribed):
                    self._tools.log.info("device has no subscriptions, polled instead", error=str(refusal))
                    break
                continue
            work.subscribed[item] = work.polled.pop(item)
        if refusals and work.subscribed:
            self._tools.log.info("some values cannot be subscribed, polled instead", count=refusals)
        self._changes.want(work.subscribed)
        now_ns = self._now_ns()
        work.renew_due_ns = now_ns + int(self._config.cov_lifetime / 2 * 1e9)
        work.watch_due_ns = now_ns + int(self._config.watchdog * 1e9)

    def _take_changes(self, work: _Work) -> list[tuple[Property, Reading]]:
        readings: list[tuple[Property, Reading]] = []
        for item, value, quality, is_fault in self._changes.drain():
            work.silent.discard(item)
            work.last[item] = (value, quality)
            readings.append((item, (value, quality)))
            if is_fault:
                work.watch_due_ns = 0  # the reason of a fault is not in the notification: read it now
        return readings

    async def _do_due(self, work: _Work) -> list[tuple[Property, Reading]]:
        now_ns = self._now_ns()
        due = {interval_s for interval_s, at_ns in work.due_ns.items() if at_ns <= now_ns}
        readings: list[tuple[Property, Reading]] = []
        polled = [item for item, interval_s in work.polled.items() if interval_s in due]
        for interval_s in due:
            step_ns = max(1, int(interval_s * 1e9))
            work.due_ns[interval_s] = max(work.due_ns[interval_s] + step_ns, now_ns + step_ns // 2)
        if polled:
            readings += await self._read(work, polled)
        if work.subscribed and now_ns >= work.watch_due_ns:
            readings += await self._watch(work)
        if work.subscribed and now_ns >= work.renew_due_ns:
            await self._renew(work)
        return readings

    async def _watch(self, work: _Work) -> list[tuple[Property, Reading]]:
        """Read what is subscribed. A value that changed twice in a row without a word: the device has forgotten."""
        before = dict(work.last)
        work.watch_due_ns = self._now_ns() + int(self._config.watchdog * 1e9)
        readings = await self._read(work, work.subscribed)
        reported = self._changes.waiting()
        changed = {item for item, reading in readings if reading[0] != before[item][0] and item not in reported}
        forgotten = changed & work.silent
        work.silent = changed
        if forgotten:
            self._tools.log.warning("device has forgotten subscriptions, renewed", count=len(work.subscribed))
            await self._renew(work)
        return readings

    async def _renew(self, work: _Work) -> None:
        """At half of the lifetime. What is refused now is polled from now on."""
        work.renew_due_ns = self._now_ns() + int(self._config.cov_lifetime / 2 * 1e9)
        for item in list(work.subscribed):
            try:
                await self._device.subscribe(item, self._config.cov_lifetime)
            except Refused as refusal:
                work.polled[item] = work.subscribed.pop(item)
                self._tools.log.warning(
                    "subscription not renewed, polled instead", address=item.object_address, error=str(refusal)
                )
        self._changes.want(work.subscribed)
        self._schedule(work)

    def _until_due_s(self, work: _Work) -> float:
        times = [work.due_ns[interval_s] for interval_s in set(work.polled.values())]
        if work.subscribed:
            times += [work.renew_due_ns, work.watch_due_ns]
        nearest_ns = min(times, default=self._now_ns() + int(1e9))
        return max(0.0, (nearest_ns - self._now_ns()) / 1e9)

    def _now_ns(self) -> int:
        return self._tools.clock.monotonic_ns()

    def take_source_gaps(self) -> int:
        """Changes that came faster than they were taken, unconfirmed."""
        return self._changes.take_lost()

    async def write(self, writes: Sequence[Write]) -> Sequence[WriteResult]:
        """One after the other; a lost link fails it and all that follow. The value None relinquishes the priority."""
        return await write_in_turn(writes, self._write_one)

    async def _write_one(self, write: Write) -> WriteResult:
        item = parse_address(write.tag.address)
        kind = self._kinds.get(item)
        if kind is None:
            _, quality, kind = (await self._device.read_raw([item]))[item]
            if kind is None:
                return WriteResult(quality, "the property cannot be read, so its type is not known")
            self._kinds[item] = kind
        try:
            value = encode(kind, write.value)
        except TypeError as error:
            return WriteResult(BAD_TYPE_MISMATCH, str(error))
        except OverflowError as error:
            return WriteResult(BAD_OUT_OF_RANGE, str(error))
        quality, reason = await self._device.write(item, value, _options(write.tag).priority or self._config.priority)
        return WriteResult(quality, reason)

    async def browse(self, root: str | None = None) -> AsyncGenerator[NodeInfo, None]:
        """The objects of the device's list, with names and units; `root` is the beginning of an object type."""
        async for node in nodes_of(self._device, root):
            yield node


def _options(tag: Tag) -> BacnetTagOptions:
    return BacnetTagOptions.model_validate(dict(tag.options))
