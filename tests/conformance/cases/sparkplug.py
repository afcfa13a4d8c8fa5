"""Sparkplug against Mosquitto and an edge node that keeps to the specification."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import millstream.connectors.sparkplug as package
from cases import mosquitto_peer, sparkplug_peer
from millstream.connectors.sparkplug import SparkplugConnector
from millstream.protocols.sparkplug import DataType
from millstream.sdk import Tag, Write
from millstream.sdk.testing import ConformanceCase, ExpectedValue, NotApplicable, Peer

T = DataType
TAGS = (Tag("count", "c/n#count"), Tag("speed", "c/n/d1#axis/speed"), Tag("state", "c/n#state"))
BAD_TAG = Tag("bad", "c/n#nothing/of/the/kind")
EXTREME_VALUES: sparkplug_peer.Values = {
    "int8": (T.INT8, -128),
    "int16": (T.INT16, -32768),
    "int32": (T.INT32, -(2**31)),
    "int64": (T.INT64, -(2**63)),
    "uint8": (T.UINT8, 255),
    "uint16": (T.UINT16, 65535),
    "uint32": (T.UINT32, 2**32 - 1),
    "uint64": (T.UINT64, 2**64 - 1),
    "float": (T.FLOAT, -math.inf),
    "nan": (T.DOUBLE, math.nan),
    "inf": (T.DOUBLE, math.inf),
    "smallest": (T.DOUBLE, 5e-324),
    "boolean": (T.BOOLEAN, True),
    "empty": (T.STRING, ""),
    "long": (T.STRING, "x" * 65_536),
    "unicode": (T.TEXT, "température \u2028 \U0001f3ed"),
    "datetime": (T.DATETIME, 1_700_000_000_123),
    "uuid": (T.UUID, "4f0c1b3e-0000-4000-8000-000000000000"),
    "bytes": (T.BYTES, b"\0\xff"),
    "int64s": (T.INT64_ARRAY, [-(2**63), 2**63 - 1]),
    "uint64s": (T.UINT64_ARRAY, [0, 2**64 - 1]),
    "doubles": (T.DOUBLE_ARRAY, [5e-324, math.inf]),
    "booleans": (T.BOOLEAN_ARRAY, [True, False, True] * 3),
    "strings": (T.STRING_ARRAY, ["", "a", "\U0001f3ed"]),
    "none": (T.INT32_ARRAY, []),
}
EXTREMES = tuple(
    ExpectedValue(Tag(name, f"c/n#extreme/{name}"), value)  # type: ignore[arg-type]
    for name, (_datatype, value) in EXTREME_VALUES.items()
)


@dataclass
class BrokerPeer(Peer):
    """A broker, and an edge node there."""

    broker: mosquitto_peer.Mosquitto = field(default=None)  # type: ignore[assignment]
    node: sparkplug_peer.EdgeNode = field(default=None)  # type: ignore[assignment]
    produced_count: int = 0

    async def produce(self) -> None:
        """One more of each."""
        self.produced_count += 1
        if self.node.client.is_connected():
            self.node.data({"count": self.produced_count, "state": "running"})
            self.node.data({"axis/speed": self.produced_count / 2}, "d1")

    async def break_link(self) -> None:
        """The broker is gone."""
        await self.broker.stop()

    async def restore_link(self) -> None:
        """It is back."""
        await self.broker.start()

    async def poison(self) -> None:
        """A payload that breaks off."""
        self.node.client.publish("spBv1.0/c/NDATA/n", b"\x12\x7f")

    async def flood(self, limit_bytes: int) -> int:
        """The broker stands between."""
        raise NotApplicable("a broker takes all that nodes send; how much it passes on is its own matter")


class HostCase(ConformanceCase):
    """A host application at Mosquitto, MQTT 3.1.1."""

    connector = SparkplugConnector
    folder: ClassVar[Path] = Path(package.__file__).parent
    needs: ClassVar[Sequence[str]] = ("mosquitto",)
    version: ClassVar[str] = "3.1.1"

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """Mosquitto and a node."""
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            peer = BrokerPeer({}, TAGS, BAD_TAG, EXTREMES, writes=(Write(TAGS[0], 7),))
            peer.broker = await stack.enter_async_context(mosquitto_peer.broker(folder))
            values: sparkplug_peer.Values = {"count": (T.INT32, 0), "state": (T.STRING, "idle")}
            values |= {f"extreme/{name}": each for name, each in EXTREME_VALUES.items()}
            node = sparkplug_peer.EdgeNode(peer.broker.port, values, {"axis/speed": (T.DOUBLE, 0.0)})
            peer.node = await stack.enter_async_context(sparkplug_peer.running(node))
            peer.config = {
                "host": "127.0.0.1",
                "port": peer.broker.port,
                "version": self.version,
                "client_id": "conformance",
                "host_id": "conformance",
                "rebirth_interval": "1s",
            }
            yield peer


class Host5Case(HostCase):
    """The same, MQTT 5."""

    version = "5"


CASES = (HostCase(), Host5Case())
