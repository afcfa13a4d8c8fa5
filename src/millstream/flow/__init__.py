"""Flows: pure step functions over the namespace, run exactly once. See docs/how-to/flows.md."""

from millstream.flow._core import Counts, FlowCore, StepFailedError, Unit, partition_of
from millstream.flow._model import (
    CancelTimer,
    Effect,
    Emit,
    EmitEvent,
    Event,
    Flow,
    Input,
    SetTimer,
    TimePolicy,
    key_of_asset,
    key_of_tag,
)
from millstream.flow._ports import Quarantine, Rejected, StreamFacts, Streams
from millstream.flow._runner import FlowRunner, PartitionRunner, Wiring
from millstream.flow._store import EntryCodec, KeyStore

__all__ = [
    "CancelTimer",
    "Counts",
    "Effect",
    "Emit",
    "EmitEvent",
    "EntryCodec",
    "Event",
    "Flow",
    "FlowCore",
    "FlowRunner",
    "Input",
    "KeyStore",
    "PartitionRunner",
    "Quarantine",
    "Rejected",
    "SetTimer",
    "StepFailedError",
    "StreamFacts",
    "Streams",
    "TimePolicy",
    "Unit",
    "Wiring",
    "key_of_asset",
    "key_of_tag",
    "partition_of",
]
