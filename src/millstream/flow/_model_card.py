"""What is said of a trained model, inside its ONNX file: its inputs, how they were spread, what it was trained on.

The card is the entry ``millstream`` of the file's own metadata, as JSON, so model and card have one digest and any tool
for ONNX shows it.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from millstream.kernel import ConfigError

CARD_KEY = "millstream"
CARD_FORMAT = 1
INPUTS_MAX = 50


class ModelInput(msgspec.Struct, frozen=True, kw_only=True):
    """One number that goes in: its short name, the tag it was trained on, and how that was spread: bins between
    `edges` with so many rows each."""

    name: str
    tag: str = ""
    low: float
    high: float
    edges: list[float]
    counts: list[int]


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """Where the training data came from. `query` is what was asked, `positions` how much each publisher had stored by
    then (messages, by `place node/publisher`), `digest` is of the rows themselves (times and values, float64)."""

    source: str
    query: dict[str, str | list[str]] = {}
    first: str
    last: str
    rows: int
    digest: str
    positions: dict[str, int] = {}


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. The score is `offset + scale * <output>`; from `threshold` on it is unusual. So was `above_share` of
    the rows that were kept out of the training. `every_ns`: each row holds the means of so long."""

    format: Annotated[int, msgspec.Meta(ge=CARD_FORMAT, le=CARD_FORMAT)] = CARD_FORMAT
    name: str
    version: int
    method: str
    trained_at: str
    inputs: Annotated[list[ModelInput], msgspec.Meta(min_length=1, max_length=INPUTS_MAX)]
    every_ns: Annotated[int, msgspec.Meta(gt=0)]
    output: str
    scale: float = 1.0
    offset: float = 0.0
    threshold: float
    held_out_rows: int = 0
    above_share: float = 0.0
    made_with: dict[str, str] = {}
    lineage: Lineage


def read_card(raw: str | None, where: str) -> ModelCard:
    """From the metadata of a file. Raises ConfigError (MS-0716)."""
    if raw is None:
        raise ConfigError(
            "the model says nothing of itself", where=where, expected=f"a card in its metadata {CARD_KEY!r}",
            next_step="`millstream model train` writes one", code="MS-0716",
        )  # fmt: skip
    try:
        card = msgspec.json.decode(raw, type=ModelCard)
        if any(len(each.counts) != len(each.edges) + 1 or sorted(each.edges) != each.edges for each in card.inputs):
            raise ValueError("bins and edges do not fit")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigError("the model's card is none", where=where, got=str(error)[:120], code="MS-0716") from error
    return card
