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
