"""Notifications leave the plant once: over a web server of the standard library and a mail server, aiosmtpd."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope

from millstream.client import Notifier
from millstream.client._notifier import SendJournal, Sent
from millstream.config import load_notifier
from millstream.kernel import ConfigError, SystemClock
from millstream.protocols.alarm import AlarmNote, Notification
from millstream.tls import issue, make_authority

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
        self.since_ns = 0

    async def notifications(self, since_ns: int, *patterns: str) -> list[tuple[int, Notification]]:
        self.since_ns = since_ns
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


class Mailbox:
    """What a mail server took, and what it answers to an address: the answers in turn, then it takes it."""

    def __init__(self, **answers: list[str]) -> None:
        self.took: list[tuple[list[str], Any]] = []
        self._answers = answers

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Envelope, address: str, _options: Any) -> str:
        answers = self._answers.get(address.partition("@")[0], [])
        if answers:
            return answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.took.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=default)))
        return "250 taken"


@asynccontextmanager
async def mail_server(box: Mailbox, **options: Any) -> AsyncIterator[int]:
    """aiosmtpd (RFC 5321) on a free port."""
    loop = asyncio.get_running_loop()
    made: list[SMTP] = []

    def serve() -> SMTP:
        made.append(SMTP(box, hostname="mail.acme.example", **options))
        return made[-1]

    async with await loop.create_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
    for each in made:
        if each.transport is not None:
            each.transport.close()


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
            ends = {(id, name, state): f"{id}: {name}: {state.replace('_', ' ')}" for id, name, state in states}
            while not all(
                sender._journal.state(id, name) == state and any(line.startswith(end) for line in told)
                for (id, name, state), end in ends.items()
            ):
                assert not task.done(), task.result()
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return told


async def test_each_message_goes_out_once_per_channel_also_over_restarts(tmp_path: Path) -> None:
    with web(500) as (url, hooks):
        box = Mailbox()
        async with mail_server(box) as port:
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
            ((to, message),) = box.took
            assert to == ["ada@acme.example", "bob@acme.example"]
            assert message["To"] == "ada@acme.example, bob@acme.example"
            assert message["Message-ID"].endswith("@acme.example>")
            assert abs(message["Date"].datetime.timestamp() - time.time()) < DEADLINE_S, "RFC 5322, 3.6"
            assert "oil is hot" in message.get_content()


async def test_of_several_addresses_each_gets_it_once_and_a_wrong_one_holds_up_nobody(tmp_path: Path) -> None:
    box = Mailbox(bob=["451 come again", "451 come again"], nobody=["550 5.1.1 no such mailbox"] * 9)
    async with mail_server(box) as port:
        addresses = [f"{name}@acme.example" for name in ("ada", "bob", "nobody")]
        mail = {"type": "mail", "host": "127.0.0.1", "port": port, "security": "none"}
        config = config_of(tmp_path, mail={**mail, "sender": "The plant <plant@acme.example>", "to": addresses})
        told = await run_until(Said(notification("a", "mail")), config, ("a", "mail", "sent"))
    assert [to for to, _ in box.took] == [["ada@acme.example"], ["bob@acme.example"]]
    assert len({message["Message-ID"] for _, message in box.took}) == 1
    assert "bob@acme.example" in told[0]
    assert told[-1].endswith("sent: but for nobody@acme.example: 550 5.1.1 no such mailbox")


@pytest.mark.parametrize(("password", "state"), [("right", "sent"), ("wrong", "given_up")])
async def test_mail_goes_over_starttls_with_a_log_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str, state: str
) -> None:
    make_authority(tmp_path / "tls", "acme", time.time())
    files = issue(tmp_path / "tls", "mail", ["127.0.0.1"], time.time())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)

    def log_in(server: SMTP, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"plant", b"right"), handled=False)

    monkeypatch.setenv("MAIL_PASSWORD", password)
    box = Mailbox()
    secured = {"tls_context": context, "require_starttls": True, "auth_required": True, "authenticator": log_in}
    async with mail_server(box, **secured) as port:
        mail = {"type": "mail", "host": "127.0.0.1", "port": port, "user": "plant", "give_up": "0s"}
        mail |= {"password": {"env": "MAIL_PASSWORD"}, "ca_file": str(tmp_path / "tls" / "ca.pem")}
        config = config_of(tmp_path, mail={**mail, "sender": "plant@acme.example", "to": ["ada@acme.example"]})
        told = await run_until(Said(notification("a", "mail")), config, ("a", "mail", state))
    assert len(box.took) == (state == "sent")
    assert state == "sent" or ("MS-2733" in told[-1] and "wrong" not in told[-1])


async def test_what_was_said_before_the_first_start_is_not_sent_at_the_second_one_either(tmp_path: Path) -> None:
    with web() as (url, _):
        config, begun_ns = config_of(tmp_path, hook={"type": "webhook", "url": url}), Quick().now_ns()
        for id in ("a", "b"):
            said = Said(notification(id, "hook"))
            await run_until(said, config, (id, "hook", "sent"))
            assert begun_ns <= said.since_ns <= Quick().now_ns()
            begun_ns = said.since_ns
    journal = SendJournal(config.journal, Quick())
    assert journal.first_ns == begun_ns
    journal.close()


def test_a_journal_is_of_one_sender(tmp_path: Path) -> None:
    config = config_of(tmp_path, hook={"type": "webhook", "url": "http://127.0.0.1:1/"})
    first = SendJournal(config.journal, Quick())
    with pytest.raises(ConfigError, match="another process") as caught:
        Notifier(Said(), config, Quick(), print)  # type: ignore[arg-type]
    assert caught.value.code == "MS-2734"
    first.close()
    SendJournal(config.journal, Quick()).close()


def test_what_is_no_address_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "notify.yaml"
    channel = {"type": "mail", "host": "h", "sender": "plant@acme.example", "to": ["shift@acme.example", "shift"]}
    path.write_text(json.dumps({"journal": "j", "channels": {"m": channel}}), encoding="utf-8")
    config, findings = load_notifier(path)
    assert config is None
    assert "not an e-mail address: 'shift'" in str(findings[0])


async def test_the_name_of_a_machine_need_not_be_ascii(tmp_path: Path) -> None:
    with web() as (url, hooks):
        said = Said(notification("acme/köln/säge 1:alarm/hi/1/shift/0", "hook"), notification("acme/a:b%2f/1", "hook"))
        config = config_of(tmp_path, hook={"type": "webhook", "url": url})
        await run_until(said, config, (said.told[0].id, "hook", "sent"), (said.told[1].id, "hook", "sent"))
    assert [key for key, _ in hooks] == ["acme/k%C3%B6ln/s%C3%A4ge%201:alarm/hi/1/shift/0", "acme/a:b%2f/1"]
    assert hooks[0][1]["id"] == said.told[0].id


@pytest.mark.parametrize(("again", "keys", "state"), [(True, ["a", "b"], "sent"), (False, ["b"], "left")])
async def test_what_was_begun_when_the_sender_was_killed_is_sent_again_with_its_id_or_left(
    tmp_path: Path, again: bool, keys: list[str], state: str
) -> None:
    with web() as (url, hooks):
        config = config_of(tmp_path, hook={"type": "webhook", "url": url, "again": again})
        killed = SendJournal(config.journal, Quick())
        killed.put(Sent("a", "hook", "begun", Quick().now_ns()))
        killed.close()
        with config.journal.open("ab") as file:
            file.write(b'{"id":"b","chan')  # the power went while this was written
        said = Said(notification("a", "hook"), notification("b", "hook"))
        await run_until(said, config, ("a", "hook", state), ("b", "hook", "sent"))
        assert [key for key, _ in hooks] == keys


async def test_a_server_that_is_not_there_is_given_up_after_its_time(tmp_path: Path) -> None:
    async with mail_server(Mailbox()) as port:
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
