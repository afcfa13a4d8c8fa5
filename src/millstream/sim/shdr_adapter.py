"""A live MTConnect adapter that serves a recorded day: python -m millstream.sim.shdr_adapter --port 0 --speed 20.

The first line on standard output is ``{"port": ..}``. Each produced line is numbered by a data item of its own,
``adapter_seq`` (1, 2, 3 ..), so that a lost line is visible downstream. SHDR cannot rewind: what is produced while no
client is connected is gone, which the numbers show; the truth file counts what was written to clients' sockets, by
data item, with counting of its own. ``--count-parts`` adds what the recorded controller was not set up to tell: a
part count, one more with each program that ran for a minute or longer and came to its end. SIGUSR2 starts an adapter
that was started with --paused, SIGUSR1 stops producing, waits for the sockets and writes the final truth, SIGTERM
ends the process.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from millstream.sim._whims import DeviceClock, Freeze, add_clock, add_freeze

SAMPLE = Path(__file__).parent / "data" / "mazak01.txt.gz"
SEQUENCE_ITEM = "adapter_seq"
PART_ITEM = "PartCountAct"
PROGRAM_S_MIN = 60.0  # recorded seconds; what is shorter was tried or broken off
PONG = b"* PONG 10000\n"
CLIENTS_COUNT_MAX = 8
BACKLOG_BYTES_MAX = 8 << 20  # a client that falls this far behind is dropped, as real adapters do
PAUSE_MAX_S = 5.0  # longer pauses of the recording are cut, at recorded speed
FLUSH_S = 5.0
LEVELS = {"normal", "warning", "fault", "unavailable"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the recording: what follows its time, when it comes (s, since the start), the items in it, and
    whether a program comes to its end with it."""

    due_s: float
    body: str
    items: tuple[str, ...]
    ends_program: bool = False


def read_lines(path: Path) -> list[Line]:
    """The recording; asset texts and commands are left out, since they are not observations."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return list(_placed(raw.decode("utf-8").splitlines()))


def _placed(lines: list[str]) -> Iterator[Line]:
    due_s, last_s = 0.0, None
    for text in lines:
        stamp, bar, body = text.partition("|")
        if not bar or body.startswith("@") or not stamp[:4].isdigit():
            continue
        now_s = datetime.fromisoformat(stamp[:23].rstrip("Z")).replace(tzinfo=UTC).timestamp()
        if last_s is not None:
            due_s += min(max(now_s - last_s, 0.0), PAUSE_MAX_S)
        last_s = now_s
        yield Line(due_s, body, items_of(body))


def program_ends(lines: list[Line]) -> list[Line]:
    """The same lines without the part count, which the recorded controller left at 0; those are marked with which a
    program ends that was begun PROGRAM_S_MIN or longer before."""
    marked: list[Line] = []
    begun_s: float | None = None
    for line in lines:
        if line.items == (PART_ITEM,):
            continue
        state = line.body.partition("|")[2] if line.items == ("execution",) else ""
        ends = state == "READY" and begun_s is not None and line.due_s - begun_s >= PROGRAM_S_MIN
        if state == "ACTIVE" and begun_s is None:
            begun_s = line.due_s
        elif state in ("READY", "STOPPED", "UNAVAILABLE"):
            begun_s = None
        marked.append(replace(line, ends_program=ends))
    return marked


def items_of(body: str) -> tuple[str, ...]:
    """The data items of one line, counted from its bars: a condition fills the line, all else is pairs."""
    fields = body.split("|")
    if len(fields) == 6 and fields[1].lower() in LEVELS:
        return (fields[0],)
    return tuple(fields[: len(fields) // 2 * 2 : 2])


@dataclass(slots=True)
class Adapter:
    """Serves clients, produces lines at their time, and counts."""

    lines: list[Line]
    speed: float
    is_numbered: bool = True
    is_looped: bool = True
    begin_s: float = 0.0
    parts_count: int | None = None
    truth_file: Path | None = None
    clock: DeviceClock = field(default_factory=DeviceClock)
    freeze: Freeze = field(default_factory=Freeze)
    produced: Counter[str] = field(default_factory=Counter)
    lines_count: int = 0
    unsent_count: int = 0
    dropped_count: int = 0
    clients: set[asyncio.StreamWriter] = field(default_factory=set)
    handlers: set[asyncio.Task[None]] = field(default_factory=set)
    running: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    ending: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: answer PING until it goes."""
        if len(self.clients) >= CLIENTS_COUNT_MAX:
            writer.close()
            return
        task = asyncio.current_task()
        if task is not None:
            self.handlers.add(task)
            task.add_done_callback(self.handlers.discard)
        self.clients.add(writer)
        try:
            while line := await reader.readline():
                if line.strip() == b"* PING":
                    writer.write(PONG)
        except (OSError, ValueError):
            pass  # the client is gone, or sent a line without end
        finally:
            self.clients.discard(writer)
            writer.close()

    async def produce(self) -> None:
        """Lines at their time until stopped or at the end."""
        await self.running.wait()
        start_s = time.monotonic() - self.begin_s / self.speed
        lines = [line for line in self.lines if line.due_s >= self.begin_s]
        while not self.stopping.is_set():
            for line in lines:
                wait_s = start_s + line.due_s / self.speed - time.monotonic()
                if wait_s > 0.005 and await self._stops_within(wait_s):
                    return
                if self.stopping.is_set():
                    return
                self._send(line)
                if self.lines_count % 200 == 0:
                    await asyncio.sleep(0)
            if not self.is_looped:
                return
            start_s += (self.lines[-1].due_s + 1.0) / self.speed
            lines = self.lines

    async def _stops_within(self, wait_s: float) -> bool:
        try:
            async with asyncio.timeout(wait_s):
                await self.stopping.wait()
        except TimeoutError:
            return False
        return True

    def _send(self, line: Line) -> None:
        if self.freeze.is_on:
            return
        self.lines_count += 1
        stamp = datetime.fromtimestamp(self.clock.now_ns() / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        number = f"{SEQUENCE_ITEM}|{self.lines_count}|" if self.is_numbered else ""
        part = self._part(line)
        payload = f"{stamp}|{number}{part}{line.body}\n".encode()
        if not self.clients:
            self.unsent_count += 1
        for writer in list(self.clients):
            if writer.transport.is_closing() or writer.transport.get_write_buffer_size() > BACKLOG_BYTES_MAX:
                self.clients.discard(writer)
                self.dropped_count += 1
                writer.transport.abort()
                continue
            writer.write(payload)
            self.produced.update(line.items)
            if self.is_numbered:
                self.produced[SEQUENCE_ITEM] += 1
            if part:
                self.produced[PART_ITEM] += 1

    def _part(self, line: Line) -> str:
        """The part count with the first line and with each part; it goes on when the recording begins anew."""
        if self.parts_count is None or (self.lines_count > 1 and not line.ends_program):
            return ""
        self.parts_count += line.ends_program
        return f"{PART_ITEM}|{self.parts_count}|"

    async def flush(self) -> None:
        """Wait until the sockets have taken everything, at most FLUSH_S."""
        end_s = time.monotonic() + FLUSH_S
        while time.monotonic() < end_s:
            if all(writer.transport.get_write_buffer_size() == 0 for writer in self.clients):
                return
            await asyncio.sleep(0.01)

    def write_truth(self, *, is_final: bool) -> None:
        """What was produced so far, whole or not at all, synced."""
        if self.truth_file is None:
            return
        document = {
            "produced": dict(sorted(self.produced.items())),
            "lines": self.lines_count,
            "lines_without_client": self.unsent_count,
            "clients_dropped": self.dropped_count,
            "final": is_final,
        }
        draft = self.truth_file.with_name(self.truth_file.name + ".part")
        with draft.open("w", encoding="utf-8") as stream:
            json.dump(document, stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self.truth_file)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A live MTConnect adapter that serves a recorded day.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--file", type=Path, default=SAMPLE, help="SHDR recording, .txt or .gz")
    parser.add_argument("--speed", type=float, default=20.0, help="times as fast as recorded")
    parser.add_argument("--truth", type=Path, help="where to write what was produced")
    parser.add_argument("--begin", type=float, default=0.0, help="recorded seconds to leave out the first time")
    parser.add_argument("--count-parts", action="store_true", help="count programs that come to their end")
    parser.add_argument("--once", action="store_true", help="do not start again at the end")
    parser.add_argument("--paused", action="store_true", help="produce nothing before SIGUSR2")
    add_clock(parser)
    add_freeze(parser)
    parser.add_argument("--unnumbered", action="store_true", help="leave adapter_seq out")
    return parser.parse_args(arguments)


async def run(options: argparse.Namespace) -> None:
    """Serve until SIGTERM."""
    lines = read_lines(options.file)
    adapter = Adapter(
        program_ends(lines) if options.count_parts else lines,
        options.speed,
        is_numbered=not options.unnumbered,
        is_looped=not options.once,
        begin_s=options.begin,
        parts_count=0 if options.count_parts else None,
        truth_file=options.truth,
        clock=DeviceClock(options.clock_offset, options.clock_drift),
        freeze=Freeze(options.freeze_after),
    )
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR2, adapter.running.set)
    loop.add_signal_handler(signal.SIGUSR1, adapter.stopping.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, adapter.ending.set)
    server = await asyncio.start_server(adapter.serve_client, options.host, options.port)
    if not options.paused:
        adapter.running.set()
    sys.stdout.write(json.dumps({"port": server.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    try:
        async with asyncio.TaskGroup() as group:
            producer = group.create_task(adapter.produce())
            stopped = group.create_task(_until_stopped(adapter))
            await adapter.ending.wait()
            adapter.stopping.set()
            adapter.running.set()
            await asyncio.gather(producer, stopped)
    finally:
        server.close()
        for writer in list(adapter.clients):
            writer.close()
        if adapter.handlers:  # a closed connection ends its handler; only who takes nothing any more is cut
            _, held = await asyncio.wait(adapter.handlers, timeout=FLUSH_S)
            for handler in held:
                handler.cancel()
            await asyncio.gather(*held, return_exceptions=True)


async def _until_stopped(adapter: Adapter) -> None:
    await adapter.stopping.wait()
    await adapter.flush()
    adapter.write_truth(is_final=True)


def main(arguments: list[str] | None = None) -> None:
    """Entry of the process."""
    asyncio.run(run(_options(arguments)))


if __name__ == "__main__":
    main()
