"""Flows: pure step functions over the namespace, run exactly once. See docs/how-to/flows.md."""

from typing import TYPE_CHECKING

from millstream.kernel import lazy_names

if TYPE_CHECKING:
    from millstream.flow._cases import read_lines, tidy_lines, write_lines
    from millstream.flow._codec import Commit, Offset, decode_commit, encode_commit
    from millstream.flow._commanded import commanded, full_schema, told_of
    from millstream.flow._context import Context, as_of, remember
    from millstream.flow._core import FlowCore
    from millstream.flow._detections import Detections, Foretold, Recording, detect, foretell
    from millstream.flow._drive import Kills, Outcome, Tick, drive, drive_all, with_ticks
    from millstream.flow._model import (
        Absorb,
        Call,
        CancelTimer,
        Effect,
        Emit,
        EmitEvent,
        Event,
        Flow,
        FlowCommand,
        Input,
        Refuse,
        Run,
        SetTimer,
        TimePolicy,
        key_of_asset,
        key_of_tag,
    )
    from millstream.flow._model_card import Lineage, ModelCard, ModelInput, read_card
    from millstream.flow._muting import Muting, muted_by, partition_of
    from millstream.flow._order import Ordered, in_order
    from millstream.flow._pattern import Found, Progress, Sequenced
    from millstream.flow._ports import Origins, Quarantine, Rejected, StreamFacts, Streams
    from millstream.flow._runner import FlowRunner, PartitionRunner, Wiring
    from millstream.flow._scored_flow import scored_flow
    from millstream.flow._scorer import Scorer
    from millstream.flow._sources import ProcessFullError, StepFailedError
    from millstream.flow._spec import FlowSpec, InputSpec, build_flow, read_module, read_spec
    from millstream.flow._store import EntryCodec, KeyStore
    from millstream.flow._training import Training, TrainingRows, train
    from millstream.flow._unit import Counts, Unit
    from millstream.flow._verify import verify
    from millstream.flow._wasm_flow import ModuleDescription, wasm_flow
    from millstream.flow._wheel import Wheel
    from millstream.flow._windows import Pane, Panes, Result, Session, Sessions, Sliding, Span
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "_cases": "read_lines tidy_lines write_lines",
            "_commanded": "commanded full_schema told_of",
            "_codec": "Commit Offset decode_commit encode_commit",
            "_context": "Context as_of remember",
            "_core": "FlowCore",
            "_detections": "Detections Foretold Recording detect foretell",
            "_drive": "Kills Outcome Tick drive drive_all with_ticks",
            "_model": (
                "Absorb Call CancelTimer Effect Emit EmitEvent Event Flow FlowCommand Input Refuse Run SetTimer "
                "TimePolicy "
                "key_of_asset key_of_tag"
            ),
            "_model_card": "Lineage ModelCard ModelInput read_card",
            "_muting": "Muting muted_by partition_of",
            "_order": "Ordered in_order",
            "_pattern": "Found Progress Sequenced",
            "_ports": "Origins Quarantine Rejected StreamFacts Streams",
            "_runner": "FlowRunner PartitionRunner Wiring",
            "_scored_flow": "scored_flow",
            "_scorer": "Scorer",
            "_sources": "ProcessFullError StepFailedError",
            "_spec": "FlowSpec InputSpec build_flow read_module read_spec",
            "_store": "EntryCodec KeyStore",
            "_training": "Training TrainingRows train",
            "_unit": "Counts Unit",
            "_verify": "verify",
            "_wasm_flow": "ModuleDescription wasm_flow",
            "_wheel": "Wheel",
            "_windows": "Pane Panes Result Session Sessions Sliding Span",
        },
    )

__all__ = [
    "Absorb",
    "Call",
    "FlowCommand",
    "commanded",
    "full_schema",
    "told_of",
    "Run",
    "Lineage",
    "ModelCard",
    "ModelInput",
    "Scorer",
    "Training",
    "TrainingRows",
    "read_card",
    "scored_flow",
    "train",
    "CancelTimer",
    "Commit",
    "Context",
    "Counts",
    "Detections",
    "Foretold",
    "foretell",
    "Recording",
    "Effect",
    "Emit",
    "EmitEvent",
    "EntryCodec",
    "Event",
    "Flow",
    "FlowCore",
    "FlowRunner",
    "FlowSpec",
    "Found",
    "Input",
    "InputSpec",
    "KeyStore",
    "Kills",
    "ModuleDescription",
    "Muting",
    "Offset",
    "Ordered",
    "Origins",
    "Outcome",
    "Pane",
    "Panes",
    "PartitionRunner",
    "ProcessFullError",
    "Progress",
    "Quarantine",
    "Refuse",
    "Rejected",
    "Result",
    "Sequenced",
    "Session",
    "Sessions",
    "SetTimer",
    "Sliding",
    "Span",
    "StepFailedError",
    "StreamFacts",
    "Streams",
    "Tick",
    "TimePolicy",
    "Unit",
    "Wheel",
    "Wiring",
    "as_of",
    "build_flow",
    "decode_commit",
    "detect",
    "drive",
    "drive_all",
    "encode_commit",
    "in_order",
    "key_of_asset",
    "key_of_tag",
    "muted_by",
    "partition_of",
    "read_lines",
    "read_module",
    "read_spec",
    "remember",
    "tidy_lines",
    "verify",
    "wasm_flow",
    "with_ticks",
    "write_lines",
]
