"""Notifications leave the plant once: over a web server of the standard library and a mail server's dialogue."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from millstream.client import Notifier
from millstream.client._notifier import SendJournal, Sent
from millstream.config import load_notifier
from millstream.kernel import ConfigError, SystemClock
from millstream.protocols.alarm import AlarmNote, Notification

DEADLINE_S = 60.0
NOTE = AlarmNote("raised", "unacknowledged", "high", 1, is_active=True, message="oil is hot", response="look\nthere")


class Quick(SystemClock):
    """Waits are short; the time is the machine's."""

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(min(delay_s, 0.01))


class Said:
    """Stands for the plant: what its flows have said."""

    def __init__(self, *told: Notification) -> None:
        self.told = list(told)
        self.alarms = self

    async def notifications(self, since_ns: int, *patterns: str) -> list[tuple[int, Notification]]:
        return [(n, each) for n, each in enumerate(self.told, 1)]


def notification(id: str, *to: str) -> Notification:
    return Notification(id, "acme/p1/press:alarm/hi", "shift", "0", list(to), NOTE)


@contextmanager
def web(*statuses: int) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Answers with these, then 204; its address, and what came: key and body."""
    came: list[tuple[str, Any]] = []
    answers = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            came.append((self.headers["Idempotency-Key"], body))
            self.send_response(answers.pop(0) if answers else 204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/alarms", came
        finally:
            server.shutdown()
            thread.join()


@asynccontextmanager
async def mail_server() -> AsyncIterator[tuple[int, list[str]]]:
    """Takes every message (RFC 5321); its port, and what came."""
    came: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            word = line[:4].upper().strip()
            if word == b"DATA":
                writer.write(b"354 go on\r\n")
                came.append((await reader.readuntil(b"\r\n.\r\n")).decode())
            writer.write({b"QUIT": b"221 bye\r\n"}.get(word, b"250 ok\r\n"))
            if word == b"QUIT":
                break
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], came


def config_of(folder: Path, **channels: dict[str, Any]) -> Any:
    path = folder / "notify.yaml"
    path.write_text(json.dumps({"journal": "sent.jsonl", "channels": channels}), encoding="utf-8")
    config, findings = load_notifier(path)
    assert config is not None, [str(f) for f in findings]
    return config


async def run_until(said: Said, config: Any, *states: tuple[str, str, str]) -> list[str]:
    """Let a sender run until the journal has these (id, channel, state); what it told."""
    told: list[str] = []
    sender = Notifier(said, config, Quick(), told.append)  # type: ignore[arg-type]
    task = asyncio.create_task(sender.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not all(sender._journal.state(id, name) == state for id, name, state in states):
                assert not task.done(), task.result()
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return told


async def test_each_message_goes_out_once_per_channel_also_over_restarts(tmp_path: Path) -> None:
    with web(500) as (url, hooks):
        async with mail_server() as (port, mails):
            mail = {"type": "mail", "host": "127.0.0.1", "port": port, "security": "none"}
            mail |= {"sender": "plant@acme.example", "to": ["ada@acme.example", "bob@acme.example"]}
            config = config_of(tmp_path, hook={"type": "webhook", "url": url}, mail=mail)
            said = Said(notification("a", "hook", "mail"))
            told = await run_until(said, config, ("a", "hook", "sent"), ("a", "mail", "sent"))
            assert any("500" in line for line in told), "it was refused once, and tried again"
            said.told.append(notification("b", "hook", "nobody"))
            told = await run_until(said, config, ("b", "hook", "sent"))
            assert any("no channel 'nobody'" in line for line in told)
            assert [key for key, _ in hooks] == ["a", "a", "b"]
            assert hooks[1][1]["subject"] == "[high] oil is hot (unacknowledged)"
            assert len(mails) == 1
            assert "Message-ID: <" in mails[0]
            assert "To: ada@acme.example, bob@acme.example" in mails[0]


@pytest.mark.parametrize(("again", "keys", "state"), [(True, ["a", "b"], "sent"), (False, ["b"], "left")])
async def test_what_was_begun_when_the_sender_was_killed_is_sent_again_with_its_id_or_left(
    tmp_path: Path, again: bool, keys: list[str], state: str
) -> None:
    with web() as (url, hooks):
        config = config_of(tmp_path, hook={"type": "webhook", "url": url, "again": again})
        SendJournal(config.journal, Quick()).put(Sent("a", "hook", "begun", Quick().now_ns()))
        with config.journal.open("ab") as file:
            file.write(b'{"id":"b","chan')  # the power went while this was written
        said = Said(notification("a", "hook"), notification("b", "hook"))
        await run_until(said, config, ("a", "hook", state), ("b", "hook", "sent"))
        assert [key for key, _ in hooks] == keys


async def test_a_server_that_is_not_there_is_given_up_after_its_time(tmp_path: Path) -> None:
    async with mail_server() as (port, _):
        pass  # from now on nobody listens
    mail = {"type": "mail", "host": "127.0.0.1", "port": port, "security": "none", "give_up": "0s"}
    config = config_of(tmp_path, mail=mail | {"sender": "plant@acme.example", "to": ["ada@acme.example"]})
    told = await run_until(Said(notification("a", "mail")), config, ("a", "mail", "given_up"))
    assert "MS-2730" in told[-1]


def test_a_journal_that_is_none_is_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "sent.jsonl"
    path.write_text("something else\nand more\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="journal"):
        SendJournal(path, Quick())


def test_a_password_goes_over_a_secured_connection_only(tmp_path: Path) -> None:
    path = tmp_path / "notify.yaml"
    channel = {"type": "mail", "host": "h", "security": "none", "sender": "a@b", "to": ["a@b"], "user": "u"}
    channel["password"] = {"env": "P"}
    path.write_text(json.dumps({"journal": "j", "channels": {"m": channel}}), encoding="utf-8")
    config, findings = load_notifier(path)
    assert config is None
    assert "secured connection" in str(findings[0])
