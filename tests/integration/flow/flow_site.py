"""An edge whose barrier counts, and a flow in a file of its own, for the tests of flows in real nodes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from ramp import CATALOG

import warm
from millstream.bus import Credentials, NatsServer, RawConnection, StreamApi, StreamReader
from millstream.config import load_edge
from millstream.edge import EdgeNode
from millstream.kernel import Unreachable
from millstream.protocols.ledger import LedgerVerifier, OriginAccount, is_ledger_subject
from millstream.protocols.nats_wire import parse_headers
from millstream.protocols.uns_payload import decode_sample

DEADLINE_S = 90.0  # of a whole condition; the tests take a fraction of it unless the machine is overloaded

FLOW_FILE = '''
from millstream.flow import Emit, Flow, Input


def count(state, event):
    """One more."""
    if event.value == -1:
        raise ValueError("no such row")
    if event.value == -2:
        while True:
            pass
    if event.value == -3:
        return list(range(1_000_000)), []
    total = (state if isinstance(state, int) else 0) + 1
    return total, [Emit(f"{event.key}:rows", total, event.time_ns)]


flow = Flow(name="rows", inputs=(Input("acme/**:row"),), step=count, initial=int, state_type=object)
'''

EDGE_FILE = """
edge: {{name: e1, path: acme/p1, data_dir: data}}
streams: {{integrity: {{max_bytes: 64MiB}}, flow_max_bytes: 64MiB}}
connectors:
  - name: ramp
    type: ramp
    config: {config}
    tags: {tags}
flows: {flows}
"""


FLOW: dict[str, Any] = {"name": "rows", "python": "mine.py:flow", "step_timeout": "300ms"}


def write_site(
    folder: Path, *, flows: Sequence[dict[str, Any]] = (FLOW,), machines: int = 1, flow_file: str = FLOW_FILE,
    **ramp: object,
) -> Path:  # fmt: skip
    """The edge's file and its flow's; YAML takes JSON."""
    (folder / "mine.py").write_text(flow_file, encoding="utf-8")
    tags = [{"name": "row", "path": f"m{i}", "address": str(i)} for i in range(machines)]
    path = folder / "edge.yaml"
    text = EDGE_FILE.format(config=json.dumps(ramp), tags=json.dumps(tags), flows=json.dumps(list(flows)))
    path.write_text(text, encoding="utf-8")
    return path


def edge_of(path: Path, log: list[str] | None = None) -> EdgeNode:
    """The node of a file; its log lines go into `log`."""
    config, findings = load_edge(path, CATALOG)
    assert config is not None, [str(f) for f in findings]
    return EdgeNode(config, connectors=CATALOG, log=lambda level, line: (log if log is not None else []).append(line))


def kill_now(pid: int | None) -> None:
    """SIGKILL to a process as a status told it: it may have ended since, by another of the faults."""
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def until(
    check: Callable[[], Awaitable[bool]] | Callable[[], bool], what: str, deadline_s: float = DEADLINE_S,
    tell: Callable[[], object] = lambda: "",
) -> None:  # fmt: skip
    """Poll until true; a check that takes long, as one that reads a whole stream, is made more rarely."""
    end = time.monotonic() + deadline_s
    while True:
        began = time.process_time()
        with suppress(Unreachable):  # the server is just being started again
            found = check()
            if (await found) if not isinstance(found, bool) else found:
                return
        assert time.monotonic() < end, f"not in time: {what}: {tell()}"
        await asyncio.sleep(min(0.05 + 5 * (time.process_time() - began), 0.3))


@asynccontextmanager
async def client_of(server: NatsServer) -> AsyncIterator[RawConnection]:
    """A plain connection to a server."""
    async with RawConnection(server.url, credentials=Credentials(server.user, server.password)) as connection:
        yield connection


async def outputs(server: NatsServer, stream: str = "E_e1_F") -> list[tuple[str, Any, str, str]]:
    """Subject, value, flow mark, origin of all that flows have said."""
    async with client_of(server) as connection:
        last_seq = (await StreamApi(connection).state(stream)).last_seq
        found: list[tuple[str, Any, str, str]] = []
        if not last_seq:
            return found
        async with aclosing(StreamReader(connection).read(stream)) as batches:
            async for messages in batches:
                for message in messages:
                    if not is_ledger_subject(message.subject):
                        headers = parse_headers(message.headers).values
                        if "Ms-Flow" in headers:
                            value = decode_sample(message.payload).value
                            found.append((message.subject, value, headers["Ms-Flow"], headers["Ms-Flow-In"]))
                if messages and messages[-1].seq >= last_seq:
                    break
        return found


def rows_of(found: Sequence[tuple[str, Any, str, str]], machine: int = 0) -> list[int]:
    """The counts of one machine."""
    return [value for subject, value, _, _ in found if subject == f"uns.v1.acme.p1.m{machine}._count.rows"]


def flow_status(edge: EdgeNode, index: int = 0) -> dict[str, Any]:
    """One flow in the node's status."""
    return edge.status()["flows"][index]  # type: ignore[index, no-any-return]


@contextmanager
def instance(folder: Path, flow: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """`millstream flow run` as a process, for the node of `write_site`."""
    file = folder / "elsewhere.yaml"  # the same flow, none of the connectors
    file.write_text(f"edge: {{name: e1, path: acme/p1, data_dir: data}}\nflows: {json.dumps([flow])}\n")
    words = warm.command("flow", "run", "-c", str(file), "--flow", "rows")
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)


async def command(*words: str) -> tuple[int, Any, str]:
    """Exit status, JSON on standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        *warm.command(*words, "--json"), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode or 0, json.loads(out) if out else None, err.decode()


async def recount(server: NatsServer, stream: str = "E_e1_F") -> OriginAccount:
    """The ledger of a stream, counted again."""
    verifier = LedgerVerifier()
    async with client_of(server) as connection:
        last_seq = (await StreamApi(connection).state(stream)).last_seq
        async with aclosing(StreamReader(connection).read(stream)) as batches:
            async for messages in batches:
                for each in messages:
                    verifier.feed(stream, each.seq, each.subject, 1, each.payload)
                if messages and messages[-1].seq >= last_seq:
                    break
    return verifier.accounts[stream]


async def ask(edge: EdgeNode, action: str, flow: str = "rows", **more: object) -> dict[str, Any]:
    """What `millstream flow` asks a node."""
    async with client_of(edge.server) as connection:
        request = json.dumps({"action": action, "flow": flow, **more}).encode()
        answer = await connection.request("millstream.node.e1.flows", request, timeout_s=20.0)
        return json.loads(answer[4])  # type: ignore[no-any-return]
