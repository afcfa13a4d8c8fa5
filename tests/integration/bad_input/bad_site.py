"""A real edge with a witness: a second connector whose numbers must all be stored whatever the first one is fed."""

from __future__ import annotations

import asyncio
import time
from collections import ChainMap
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ramp import RampConnector

import millstream
from millstream.bus import Credentials, RawConnection, StreamApi, StreamReader
from millstream.client import DeadLetter
from millstream.config import EdgeConfig, InstalledConnectors, load_edge
from millstream.edge import EdgeNode
from millstream.kernel import Clock
from millstream.model import Quality
from millstream.protocols.ledger import LedgerVerifier, is_ledger_subject
from millstream.protocols.uns_payload import ARROW_TYPE, decode_block, decode_sample
from millstream.protocols.uns_subject import decode_subject

WITNESS_ROWS = 1500
DEADLINE_S = 60.0  # of a whole condition; the tests take a fraction of it unless the machine is overloaded
CATALOG: Mapping[str, Any] = ChainMap({"ramp": RampConnector}, InstalledConnectors())  # type: ignore[arg-type]
HEAD = """edge: {{name: e1, path: acme/plant1, data_dir: data}}
{extra}
connectors:
  - name: witness
    type: ramp
    path: witness
    config: {{rows: {rows}, pause: 2ms}}
    tags: [{{name: n, address: 1}}]
"""


@dataclass(frozen=True)
class Seen:
    """One stored sample."""

    value: Any
    quality: str
    time_ns: int
    clock: str | None = None


@dataclass
class Site:
    """A running edge and what it logged as (level, line)."""

    node: EdgeNode
    folder: Path
    log: list[tuple[str, str]] = field(default_factory=list)

    def connector(self, name: str) -> dict[str, Any]:
        """A connector's status."""
        found: Any = self.node.status()["connectors"]
        return next(c for c in found if c["name"] == name)

    def alarms(self) -> list[str]:
        """The codes of the node's alarms."""
        found: Any = self.node.status()["alarms"]
        return [alarm["code"] for alarm in found]

    def complaints(self, name: str) -> list[str]:
        """What was logged about a connector above the level of information."""
        return [line for level, line in self.log if level != "info" and line.startswith(f"{name}:")]

    async def samples(self) -> dict[str, list[Seen]]:
        """All stored samples by place and name, e.g. "shdr:odd", in their order. Checks the ledger on the way."""
        found: dict[str, list[Seen]] = {}
        verifier = LedgerVerifier()
        server = self.node.server
        async with (
            RawConnection(server.url, credentials=Credentials(server.user, server.password)) as connection,
            aclosing(StreamReader(connection).read("E_e1_I")) as batches,
        ):
            last_seq = (await StreamApi(connection).state("E_e1_I")).last_seq
            async for batch in batches:
                for m in batch:
                    is_data = "._tag." in m.subject and not is_ledger_subject(m.subject)
                    seen = _decoded(m.payload, m.headers) if is_data else []
                    verifier.feed("E_e1_I", m.seq, m.subject, len(seen) if "._tag." in m.subject else 0, m.payload)
                    if is_data:
                        tag = decode_subject(m.subject).tag
                        found.setdefault(f"{tag.asset.levels[-1]}:{'/'.join(tag.names)}", []).extend(seen)
                if batch and batch[-1].seq >= last_seq:
                    break
        account = verifier.accounts["E_e1_I"]
        assert (account.gaps, account.repeats, account.out_of_order) == (0, 0, 0), account
        return found

    async def letters(self) -> list[DeadLetter]:
        """The dead letters, as the command line shows them."""
        async with millstream.connect(self.folder / "data") as plant:
            return (await plant.dead_letters())[0]


def _decoded(payload: bytes, headers: bytes | None) -> list[Seen]:
    if ARROW_TYPE.encode() not in (headers or b""):
        one = decode_sample(payload)
        return [Seen(one.value, Quality(one.quality).label, one.time_ns, one.clock)]
    block = decode_block(payload)
    qualities = [0] * len(block) if block.quality is None else block.quality.tolist()
    values = block.values if isinstance(block.values, list) else block.values.tolist()
    return [
        Seen(value, Quality(quality).label, time_ns, block.clock)
        for value, quality, time_ns in zip(values, qualities, block.time_ns.tolist(), strict=True)
    ]


def load(folder: Path, connectors: str, *, extra: str = "", rows: int = WITNESS_ROWS) -> EdgeConfig:
    """The configuration of an edge with the witness and `connectors` (YAML list entries)."""
    path = folder / "edge.yaml"
    path.write_text(HEAD.format(extra=extra, rows=rows) + connectors, encoding="utf-8")
    config, findings = load_edge(path, CATALOG)
    assert config is not None, [str(finding) for finding in findings]
    return config


@asynccontextmanager
async def running_site(
    folder: Path, connectors: str, *, extra: str = "", clock: Clock | None = None
) -> AsyncIterator[Site]:
    """An edge; on a peaceful exit every number of the witness must be stored once, in order."""
    log: list[tuple[str, str]] = []
    node = EdgeNode(
        load(folder, connectors, extra=extra), connectors=CATALOG, clock=clock,
        log=lambda level, line: log.append((level, line)),
    )  # fmt: skip
    async with node:
        site = Site(node, folder, log)
        yield site
        await until(lambda: site.connector("witness")["state"] == "ended", "the witness has ended")
        stored = (await site.samples())["witness:n"]
        assert [seen.value for seen in stored] == list(range(WITNESS_ROWS))
        assert site.complaints("witness") == []


async def until(check: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Poll until true."""
    end = time.monotonic() + deadline_s
    while not check():
        assert time.monotonic() < end, f"not in time: {what}"
        await asyncio.sleep(0.02)


async def eventually(site: Site, is_there: Callable[[dict[str, list[Seen]]], bool], what: str) -> dict[str, list[Seen]]:
    """Read what is stored until it is as wanted."""
    end = time.monotonic() + DEADLINE_S
    while not is_there(found := await site.samples()):
        assert time.monotonic() < end, f"not in time: {what}: {found}"
        await asyncio.sleep(0.05)
    return found
