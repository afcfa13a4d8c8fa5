"""Make the page of the built-in flows from their configurations. `docs_gen.py` writes and checks it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from millstream.flow._expression import FUNCTIONS
from millstream.flow.library import FLOW_TYPES, FlowType

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "flows.md"
GOLDEN = ROOT / "tests" / "golden" / "flow"
INTRO = f"""# Flows

This page is written by `tools/docs_gen.py` from the types in `millstream.flow.library`; a test keeps it fresh. How to
test, run and write flows is on the page [process data with flows](../how-to/flows.md); the keys around `config` are on
the page [configuration](configuration.md).

What holds for all of them:

- Every input counts once, whatever is killed. Input that a type cannot take (a text where a number is needed) goes into
  quarantine with the reason and is never skipped silently. Bad values carry no information and change no total.
- Results stand at the place of their input, under the name `output`. `{{name}}` in it stands for the input's name; then
  each input tag has a result of its own.
- `lateness` is how far out of order events may come. A type that looks at edges, levels or states takes the events of a
  key in the order of their times as far as that reaches; what comes later still is taken in the order in which it came,
  and so is everything when `lateness` is 0, so a clock that is set back loses nothing.
- A corrected result has the header `Ms-Revision`; of results for the same path and time the one stored last counts.

**Expressions** (`derived_tag`, `machine_state`) are in Python's grammar, of which numbers, texts, names, arithmetic,
comparisons, `and`, `or`, `not`, `in`, `a if b else c` and these functions are allowed:
{", ".join(f"`{name}`" for name in FUNCTIONS)}.
`bit(word, number)` counts from 0, `clamp(x, low, high)` keeps x between the two. Arithmetic with a missing value and a
division by zero give no value; a comparison with a missing value is false.
"""


def flows_page(table: Callable[[str, dict[str, Any], dict[str, Any]], str]) -> str:
    """The whole page; `table` makes one from a section of a JSON Schema."""
    return "\n".join([INTRO, *(_section(flow_type, table) for flow_type in FLOW_TYPES.values())])


def _section(flow_type: FlowType, table: Callable[[str, dict[str, Any], dict[str, Any]], str]) -> str:
    schema = flow_type.Config.model_json_schema()
    defs = schema.get("$defs", {})
    case = min((GOLDEN / flow_type.name).iterdir(), key=lambda case: (len((case / "flow.yaml").read_bytes()), case))
    entry = (case / "flow.yaml").read_text(encoding="utf-8")
    parts = [
        f"## `{flow_type.name}`\n\n{flow_type.description}\n",
        f"```yaml\n{entry}```\n",
        f"What comes in and out: [{case.name}](../../{case.relative_to(ROOT).as_posix()}).\n",
        table("", schema, defs),
    ]
    for name, section in defs.items():
        parts.append(f"`{name}`: {section.get('description', '')}\n\n{table('', section, defs)}")
    return "\n".join(parts)
