"""Dead letters on a real server: listed, shown, stored where they should have gone."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "client"))
from fake_node import FakeNode, fake_node

from millstream.cli import main

SUBJECT = "uns.v1.acme.plant1._tag.press.temperature"
GOOD = b'{"timestamp_ms": 1790000000000, "value": 20.5}'


async def bury(node: FakeNode, payload: bytes, subject: str | None = SUBJECT) -> None:
    headers = {"Ms-Reason": "a bad day", "Ms-Code": "MS-0302", "Ms-Source": "press", "Ms-Time": "1790000000000000000"}
    headers |= {"Content-Type": "application/json"} | ({"Ms-Subject": subject} if subject else {})
    await node.client.jetstream().publish("dlq.edge1.press", payload, headers=headers)


async def run(capfd: pytest.CaptureFixture[str], node: FakeNode, *words: str) -> tuple[int, str, str]:
    """One command in a thread, because it has a loop of its own."""
    status = await asyncio.to_thread(main, ["deadletter", *words, "--node", str(node.folder)])
    out, err = capfd.readouterr()
    return status, out, err


async def count(node: FakeNode, stream: str) -> int:
    return int((await node.client.jetstream().stream_info(stream)).state.messages)


async def test_a_letter_is_listed_shown_and_replayed_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with fake_node(tmp_path, "edge", "edge1") as node:
        await bury(node, GOOD)
        status, out, _ = await run(capfd, node, "list", "--json")
        letter = json.loads(out)
        assert (status, letter["id"], letter["code"], letter["reason"]) == (0, "E_edge1_DLQ:1", "MS-0302", "a bad day")
        status, out, _ = await run(capfd, node, "show", letter["id"], "--raw")
        assert (status, out.encode()) == (0, GOOD)
        status, out, _ = await run(capfd, node, "replay", letter["id"], "--json")
        assert (status, json.loads(out)["stored"]["stream"]) == (0, "E_edge1_I")
        assert (await count(node, "E_edge1_DLQ"), await count(node, "E_edge1_I")) == (0, 1)
        stored = await node.client.jetstream().get_last_msg("E_edge1_I", SUBJECT)
        assert stored.data == GOOD
        status, _, _ = await run(capfd, node, "replay", letter["id"])
        assert status == 3
        assert await count(node, "E_edge1_I") == 1


async def test_a_letter_is_let_go_with_who_and_why_in_the_audit(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with fake_node(tmp_path, "edge", "edge1") as node:
        await bury(node, b"\xff")
        status, out, _ = await run(capfd, node, "drop", "E_edge1_DLQ:1", "-m", "noise", "--who", "Ada", "--json")
        assert (status, json.loads(out)) == (0, {"id": "E_edge1_DLQ:1", "dropped": True, "bytes": 1})
        assert await count(node, "E_edge1_DLQ") == 0
        told = await node.client.jetstream().get_last_msg(
            "E_edge1_I", "uns.v1.acme.plant1._event.millstream.audit.dead_letter.dropped"
        )
        data = json.loads(told.data or b"")
        assert (data["letter"], data["who"], data["why"], data["after"]) == ("E_edge1_DLQ:1", "Ada", "noise", None)
        assert data["before"]["bytes"] == 1
        assert data["before"]["sha256"] == "a8100ae6aa1940d0b663bb31cd466142ebbdbd5187131b92d93818987832eb89"
        status, _, _ = await run(capfd, node, "drop", "E_edge1_DLQ:1", "-m", "again")
        assert status == 3


@pytest.mark.parametrize(("payload", "subject"), [(GOOD, None), (b"\xff no json", SUBJECT)])
async def test_a_letter_without_a_place_or_sense_is_refused_and_stays(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], payload: bytes, subject: str | None
) -> None:
    async with fake_node(tmp_path, "edge", "edge1") as node:
        await bury(node, payload, subject)
        status, _, err = await run(capfd, node, "replay", "E_edge1_DLQ:1")
        assert status == 1
        assert "refused E_edge1_DLQ:1" in err
        assert (await count(node, "E_edge1_DLQ"), await count(node, "E_edge1_I")) == (1, 0)


BROKEN = b'{"timestamp_ms": 1790000000000, "value": 20,5}'


async def test_a_repaired_letter_is_stored_once_at_its_place(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with fake_node(tmp_path / "node", "edge", "edge1") as node:
        await bury(node, BROKEN)
        file = tmp_path / "letter.json"
        file.write_bytes(BROKEN)
        status, _, err = await run(capfd, node, "replay", "E_edge1_DLQ:1", "--file", str(file))
        assert status == 1
        assert "--file FILE" in err
        file.write_bytes(BROKEN.replace(b"20,5", b"20.5"))
        status, out, _ = await run(capfd, node, "replay", "E_edge1_DLQ:1", "--file", str(file), "--json")
        assert (status, json.loads(out)["stored"]["stream"]) == (0, "E_edge1_I")
        assert (await count(node, "E_edge1_DLQ"), await count(node, "E_edge1_I")) == (0, 1)
        assert (await node.client.jetstream().get_last_msg("E_edge1_I", SUBJECT)).data == GOOD


async def test_a_replay_that_was_cut_off_is_not_stored_twice_although_newer_values_came(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with fake_node(tmp_path / "node", "edge", "edge1") as node:
        await bury(node, BROKEN)
        file = tmp_path / "letter.json"
        file.write_bytes(GOOD)
        words = ("replay", "E_edge1_DLQ:1", "--file", str(file))
        await publish_values(node, 600)
        assert (await run(capfd, node, *words, "--keep"))[0] == 0  # as if it was killed before the removal
        await publish_values(node, 600)
        assert (await run(capfd, node, *words))[0] == 0
        assert (await count(node, "E_edge1_DLQ"), await count(node, "E_edge1_I")) == (0, 1201)


async def publish_values(node: FakeNode, values: int) -> None:
    """Store so many values of the same tag."""
    goal = await count(node, "E_edge1_I") + values
    for number in range(values):
        await node.client.publish(SUBJECT, b'{"timestamp_ms": 1790000000001, "value": %d}' % number)
    await node.client.flush()
    async with asyncio.timeout(60):
        while await count(node, "E_edge1_I") < goal:
            await asyncio.sleep(0.02)


async def test_a_file_is_for_one_letter(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with fake_node(tmp_path, "edge", "edge1") as node:
        for words in (("--all",), ("E_edge1_DLQ:1", "E_edge1_DLQ:2")):
            status, _, err = await run(capfd, node, "replay", *words, "--file", "letter.json")
            assert status != 0
            assert "one letter" in err
        assert (await run(capfd, node, "replay", "E_edge1_DLQ:1", "--file", str(tmp_path / "none")))[0] == 1
