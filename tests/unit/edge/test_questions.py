"""Questions to an edge: one after the other, bounded, and an answer that cannot be sent ends nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import msgspec

from millstream.bus import RawConnection
from millstream.edge._bundle import bundle_path
from millstream.edge._command_files import FileDesk
from millstream.edge._questions import Answer, Questions
from millstream.kernel import Unreachable
from millstream.protocols.command_file import PieceAsk
from millstream.protocols.nats_wire import WireMessage, parse_headers


class _Bus:
    """What `Questions` needs of a connection; raises while it is down."""

    def __init__(self) -> None:
        self.is_down = False
        self.refused = asyncio.Event()
        self.heard: dict[str, object] = {}
        self.sent: asyncio.Queue[tuple[str, bytes, bytes]] = asyncio.Queue()

    def subscribe(self, subject: str, callback: object) -> int:
        self.heard[subject] = callback
        return 1

    def unsubscribe(self, sid: int) -> None:
        self.heard.clear()

    def publish(self, subject: str, payload: bytes, *, header_lines: bytes = b"") -> None:
        if self.is_down:
            self.refused.set()
            raise Unreachable("not connected", where="test")
        self.sent.put_nowait((subject, payload, header_lines))

    def ask(self, subject: str, *payloads: bytes) -> None:
        """As the server delivers."""
        self.heard[subject]([(1, subject.encode(), b"", None, payload) for payload in payloads])  # type: ignore[operator]


async def test_an_answer_on_a_lost_link_is_dropped_and_the_next_question_is_answered() -> None:
    bus = _Bus()
    questions = Questions(cast(RawConnection, bus), "e1", "thing", 4)

    async def answer(message: WireMessage) -> list[Answer]:
        return [Answer(questions.answer_subject("t"), message[4], (("A", "one\r\nB: two"),))]

    close = questions.open()
    task = asyncio.ensure_future(questions.run(answer))
    try:
        bus.is_down = True
        bus.ask("millstream.node.e1.thing", b"lost")
        await bus.refused.wait()
        bus.is_down = False
        bus.ask("millstream.node.e1.thing", b"kept")
        subject, payload, lines = await bus.sent.get()
        assert (subject, payload) == ("millstream.fleet.answer.e1.t", b"kept")
        assert lines == b"A: one B: two\r\n"  # a value cannot add a header
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    close()
    assert not bus.heard


async def test_more_questions_than_are_kept_are_dropped() -> None:
    bus = _Bus()
    questions = Questions(cast(RawConnection, bus), "e1", "thing", 2)
    questions.open()

    async def answer(message: WireMessage) -> list[Answer]:
        return [Answer("to", message[4])]

    bus.ask("millstream.node.e1.thing", b"1", b"2", b"3")
    task = asyncio.ensure_future(questions.run(answer))
    assert [(await bus.sent.get())[1] for _ in range(2)] == [b"1", b"2"]
    bus.ask("millstream.node.e1.thing", b"4")
    assert (await bus.sent.get())[1] == b"4"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_desk_of_files_answers_pieces_and_what_is_not_there(tmp_path: Path) -> None:
    bus = _Bus()
    desk = FileDesk("e1", tmp_path, cast(RawConnection, bus))
    desk.open()
    path = bundle_path(tmp_path, "abc")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"content")
    task = asyncio.ensure_future(desk.run())
    asks = [b"not a question", *(msgspec.json.encode(PieceAsk(f"t{id}", id, 3)) for id in ("abc", "gone"))]
    bus.ask("millstream.node.e1.command_file", *asks)
    subject, payload, lines = await bus.sent.get()
    assert (subject, payload) == ("millstream.fleet.answer.e1.tabc", b"tent")
    assert dict(parse_headers(b"NATS/1.0\r\n" + lines + b"\r\n").values) == {"Ms-Status": "done", "Ms-Size": "7"}
    subject, payload, lines = await bus.sent.get()
    assert (subject, payload) == ("millstream.fleet.answer.e1.tgone", b"")
    assert b"MS-2312" in lines
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
