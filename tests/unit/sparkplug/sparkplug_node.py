"""An edge node on paper: makes the messages that a test gives to the host, one counter over all of them."""

from __future__ import annotations

from typing import Any

from millstream.protocols.sparkplug import BD_SEQ, REBIRTH, DataType, Metric, Payload, Property
from millstream.protocols.sparkplug_host import HostOptions, Moment, SparkplugHost
from millstream.protocols.sparkplug_host_model import HostEvent, MetricUpdate
from millstream.protocols.sparkplug_value import to_raw
from millstream.protocols.sparkplug_wire import encode_payload

T = DataType
T0 = 1_700_000_000_000
UNIT = {"engUnit": Property(T.STRING, "mm")}


def metric(name: str | None, value: Any, datatype: DataType = T.INT32, **more: Any) -> Metric:
    """A metric with a value; None is null."""
    raw = None if value is None else to_raw(datatype, value)
    code = None if name is None else datatype
    return Metric(name, datatype=code, raw=raw, is_null=value is None, **more)


def data(alias: int, value: Any, datatype: DataType = T.INT32, **more: Any) -> Metric:
    """A metric as DATA has it: alias and value."""
    return metric(None, value, datatype, alias=alias, **more)


class PaperNode:
    """`send` gives topic and bytes; nothing is sent."""

    def __init__(self, name: str = "n", group: str = "g") -> None:
        self.group, self.name = group, name
        self.seq = 0
        self.bd_seq = 0
        self.now_ms = T0

    def send(self, kind: str, *metrics: Metric, device: str | None = None, **more: Any) -> tuple[str, bytes]:
        """The next message."""
        if kind == "NBIRTH":
            self.seq = 0
        payload = Payload(more.get("time_ms", self.now_ms), metrics, more.get("seq", self.seq))
        if "seq" not in more:
            self.seq = (self.seq + 1) % 256
        levels = ["spBv1.0", self.group, kind, self.name] + ([device] if device else [])
        return "/".join(levels), encode_payload(payload)

    def nbirth(self, *metrics: Metric) -> tuple[str, bytes]:
        """With bdSeq and the rebirth control."""
        return self.send("NBIRTH", self._bd(), metric(REBIRTH, False, T.BOOLEAN), *metrics)

    def ndeath(self, bd_seq: int | None = None) -> tuple[str, bytes]:
        """A death, by default of this session."""
        payload = Payload(self.now_ms, (self._bd(bd_seq),))
        return f"spBv1.0/{self.group}/NDEATH/{self.name}", encode_payload(payload)

    def _bd(self, bd_seq: int | None = None) -> Metric:
        return metric(BD_SEQ, self.bd_seq if bd_seq is None else bd_seq, T.INT64)


class Plant:
    """A host and what it told, with a clock."""

    def __init__(self, **options: int) -> None:
        self.host = SparkplugHost(HostOptions(**options))
        self.now_ms = T0

    @property
    def now(self) -> Moment:
        """The steady clock starts at 0."""
        return Moment(self.now_ms, self.now_ms - T0)

    def take(self, message: tuple[str, bytes], after_ms: int = 0) -> list[HostEvent]:
        """Deliver one message."""
        self.now_ms += after_ms
        return self.host.receive(*message, self.now)

    def wait(self, ms: int) -> list[HostEvent]:
        """Let time pass, in the steps that the host asks for."""
        end, found = self.now_ms + ms, []
        while (due := self.host.due_ms()) is not None and T0 + due <= end:
            self.now_ms = max(T0 + due, self.now_ms)
            found += self.host.tick(self.now)
            assert (later := self.host.due_ms()) is None or T0 + later > self.now_ms
        self.now_ms = end
        return found + self.host.tick(self.now)


def values(events: list[HostEvent]) -> dict[str, Any]:
    """Address -> value of the updates; what is bad has its quality's label."""
    return {
        e.key.address: e.value if e.value is not None else e.quality.label
        for e in events
        if isinstance(e, MetricUpdate)
    }


def of(events: list[HostEvent], kind: type[Any]) -> list[Any]:
    """The events of one kind."""
    return [e for e in events if isinstance(e, kind)]
