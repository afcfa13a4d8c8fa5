"""``model train | show | score``: models that are trained at the hub and run at the edge."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from millstream.cli._evaluate import time_ns
from millstream.cli._options import DEFAULT, Json, Target, run
from millstream.cli._output import OK, note, print_json, print_table, print_text
from millstream.kernel import ConfigError, NotFoundError, SystemClock, parse_duration_s

if TYPE_CHECKING:
    from millstream.client import Plant
    from millstream.flow import ModelCard, TrainingRows

INPUTS_EXPECTED = "NAME=PATH, such as level=acme/plant1/mill:force/rms"


def train(
    file: Path, /, *, input: list[str], every: str,
    start: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-7d",
    end: Annotated[str, Parameter(allow_leading_hyphen=True)] = "now",
    kind: str = "tag", data: Path | None = None, name: str = "", model_version: int = 1, false_share: float = 0.001,
    seed: int = 0, json: Json = False, target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Train a model on the history, as a file for `code push`.

    It is an isolation forest over rows that hold the mean of each input in windows of --every. The newest fifth of the
    rows is kept out of the training and says how often the model would have been wrong. Inside the file is its card:
    what was asked of the history, how far the ledger was by then, and a digest of the rows. Needs
    `pip install millstream[training]`.

    Examples:

        millstream model train mill.onnx --input level=acme/plant1/mill:force/rms --kind kpi --every 1min --start -30d
        millstream model train mill.onnx --input level --input heat --every 1s --data rows.csv --json

    Parameters
    ----------
    file
        Where the model goes, *.onnx.
    input
        One input, NAME=PATH; may be repeated. With --data only NAME, a column.
    every
        Windows of this length; the flow at the edge makes its rows in the same way.
    start
        Begin of what it is trained on, included.
    end
        End, not included.
    kind
        Kind of the inputs in the history: tag, kpi, count or state.
    data
        Rows of a CSV file with a heading and the time in the first column, instead of the history.
    name
        Of the model; left out: that of the file.
    model_version
        Its version, for people. What runs is named by its digest.
    false_share
        The share of usual rows that may be told as unusual: it sets the threshold.
    seed
        Of the trees.
    json
        Print the card as one object.
    """
    from millstream.flow import Training
    from millstream.flow import train as train_model

    if not 0 < false_share < 1:
        raise ConfigError("not a share", where="--false-share", expected="between 0 and 1", got=str(false_share))
    asked = Training(name or file.stem, model_version, false_share, seed, SystemClock().now_ns())
    every_ns = round(parse_duration_s(every) * 1e9)
    tags = _inputs(input, with_paths=data is None)
    if data is not None:
        rows = _from_file(data, list(tags), every_ns)
    else:

        async def work() -> TrainingRows:
            """Ask the history, and how far the ledger is."""
            async with target.connect() as plant:
                return await _from_history(plant, tags, every_ns, {"start": start, "end": end, "kind": kind})

        rows = run(work())
    made, card = train_model(rows, asked)
    file.write_bytes(made)
    return _print(made, card, json=json)


def show(file: Path, /, *, json: Json = False) -> int:
    """Show what a model says of itself.

    Examples:

        millstream model show spindle.onnx
        millstream model show spindle.onnx --json | jq .lineage

    Parameters
    ----------
    file
        The model, *.onnx.
    json
        Print one object.
    """
    from millstream.flow import Scorer

    made = _read(file)
    return _print(made, Scorer(made, file.name).card, json=json)


def score(file: Path, data: Path, /, *, json: Json = False) -> int:
    """Let a model score rows of a file.

    Says how many rows are unusual, and for each input how differently it is spread from what the model was trained on.

    Examples:

        millstream model score spindle.onnx rows.csv
        millstream model score spindle.onnx rows.csv --json | jq .above

    Parameters
    ----------
    file
        The model, *.onnx.
    data
        CSV with a heading: the time in the first column, and a column for each input.
    json
        Print one object.
    """
    from millstream.flow import Scorer
    from millstream.shop import counts_of, stability_index

    scorer = Scorer(_read(file), file.name)
    card = scorer.card
    given = _from_file(data, [each.name for each in card.inputs], card.every_ns)
    scores = scorer.scores(given.rows)
    columns = zip(*given.rows, strict=True)
    drift = {
        each.name: round(stability_index(each.counts, counts_of(column, each.edges)), 4)
        for each, column in zip(card.inputs, columns, strict=True)
    }
    above = sum(value >= card.threshold for value in scores)
    if json:
        print_json({"ok": True, "rows": len(scores), "above": above, "highest": max(scores), "drift": drift})
        return OK
    print_text(f"{above} of {len(scores)} rows at or above {card.threshold:g}, the highest {max(scores):g}")
    print_table(("input", "drift"), [(key, f"{value:.3f}") for key, value in drift.items()], right=("drift",))
    return OK


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise NotFoundError("the model cannot be read", where=str(file), got=error.strerror) from error


def _print(made: bytes, card: ModelCard, *, json: bool) -> int:
    import msgspec

    from millstream.protocols.module import module_digest

    digest = module_digest(made)
    if json:
        print_json({"ok": True, "digest": digest, "bytes": len(made), **msgspec.to_builtins(card)})
        return OK
    lineage = card.lineage
    note(f"{card.name} {card.version}: {card.method} of {card.trained_at}, rows of {card.every_ns / 1e9:g} s")
    note(f"unusual from {card.threshold:g} on: {card.above_share:.2%} of {card.held_out_rows} rows kept out")
    note(f"trained on {lineage.rows} rows, {lineage.first} to {lineage.last}, {lineage.digest} of {lineage.source}")
    rows = [(each.name, each.tag, f"{each.low:g}", f"{each.high:g}") for each in card.inputs]
    print_table(("input", "tag", "lowest", "highest"), rows, right=("lowest", "highest"))
    print_text(digest)
    return OK


def _inputs(given: list[str], *, with_paths: bool) -> dict[str, str]:
    found = {}
    for each in given:
        name, _, path = each.partition("=")
        if not name.isidentifier() or bool(path) != with_paths or name in found:
            expected = INPUTS_EXPECTED if with_paths else "NAME, a column of the file"
            raise ConfigError("not an input, or given twice", where="--input", expected=expected, got=each)
        found[name] = path
    return found


async def _from_history(
    plant: Plant, tags: dict[str, str], every_ns: int, query: dict[str, str]
) -> TrainingRows:  # fmt: skip
    """Windows in which each input has a mean."""
    from millstream.flow import TrainingRows

    ledger = await plant.ledger()
    table = await plant.history(
        list(tags.values()), query["start"], query["end"], every=every_ns / 1e9, aggregate="mean", quality="good",
        kind=query["kind"],
    )  # fmt: skip
    by_time: dict[int, dict[str, float]] = {}
    if (table.schema.metadata or {}).get(b"truncated") == b"true":
        raise ConfigError(
            "the history has more rows than one answer holds", where=f"{query['start']} to {query['end']}",
            next_step="take longer rows with --every, or a shorter time", code="MS-0717",
        )  # fmt: skip
    times = table.column("timestamp").cast("int64").to_pylist()
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[table.schema.field("timestamp").type.unit]
    for at, tag, mean in zip(times, table.column("tag").to_pylist(), table.column("mean").to_pylist(), strict=True):
        if mean is not None and math.isfinite(mean):
            by_time.setdefault(at * (10**9 // per_second), {})[tag] = mean
    whole = sorted((at, row) for at, row in by_time.items() if len(row) == len(tags))
    return TrainingRows(
        list(tags), [at for at, _ in whole], [[row[tag] for tag in tags.values()] for _, row in whole], every_ns,
        f"history of {plant.node.name or plant.node.nats_url}", tags,
        {**query, "tags": list(tags.values()), "every": f"{every_ns}ns", "aggregate": "mean", "quality": "good"},
        {f"{row.place} {row.node}/{row.publisher}": row.total_messages for row in ledger.rows},
    )  # fmt: skip


def _from_file(path: Path, names: list[str], every_ns: int) -> TrainingRows:
    from millstream.flow import TrainingRows

    times, rows = list[int](), list[list[float]]()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            heading = [name.strip() for name in next(lines, ())]
            if missing := [name for name in names if name not in heading]:
                raise ConfigError(
                    "a column is missing", where=str(path), expected=", ".join(missing), got=", ".join(heading)[:120]
                )
            places = [heading.index(name) for name in names]
            for number, line in enumerate(lines, 2):
                try:
                    times.append(time_ns(line[0]))
                    rows.append([float(line[place]) for place in places])
                except (ValueError, IndexError) as error:
                    got = ",".join(line)[:80]
                    raise ConfigError("not a time and numbers", where=f"{path}:{number}", got=got) from error
    except FileNotFoundError:
        raise NotFoundError("no such file", where=str(path)) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"not rows: {error}", where=str(path)) from error
    if not rows:
        raise ConfigError("a file without rows", where=str(path))
    return TrainingRows(names, times, rows, every_ns, path.name)
