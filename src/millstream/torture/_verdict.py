"""From the evidence of a run to its verdict. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millstream.sim.producer_ledger import MachineTruth, Truth
from millstream.torture import flows
from millstream.torture._checker import Account, Output, check_gaps, check_outputs, check_parts, check_tail
from millstream.torture._reference import reference
from millstream.torture._sinks import Samples, good
from millstream.torture._site import tag

DETAILS_MAX = 40
CONTRACTS = {flows.COUNTED: "_count", flows.PARTS: "_count", flows.RATE: "_kpi"}


@dataclass(frozen=True, slots=True)
class Evidence:
    """The truth, and what every sink holds: the edge's streams, the hub's, the rows of the historian by path, and how
    many lines the adapter (a source that cannot rewind) has written."""

    truth: Truth
    machines: Sequence[str]
    edge: Sequence[Samples]
    hub: Samples
    history: Mapping[str, list[Output]]
    adapter: str
    adapter_lines: int


def judge(evidence: Evidence) -> dict[str, Any]:
    """The counts of the report, and `is_equal`."""
    accounts = [
        *(account for machine in evidence.machines for account in _machine(evidence, machine)),
    ]
    gaps_account, gaps = check_gaps(
        "hub adapter", evidence.adapter_lines, [o.value for o in evidence.hub.get(("_tag", evidence.adapter), [])]
    )
    accounts.append(gaps_account)
    wrong = [account for account in accounts if not account.is_equal]
    truth = evidence.truth
    counted = sum(_last(evidence.hub, machine) for machine in evidence.machines)
    return {
        "parts_true": truth.made_count,
        "parts_counted": counted,
        "lost": sum(a.lost + a.wrong + a.out_of_order for a in accounts) + max(0, truth.made_count - counted),
        "duplicated": sum(a.duplicated + a.invented for a in accounts) + max(0, counted - truth.made_count),
        "resent_by_devices": sum(sum(m.sends.values()) - len(m.made) for m in truth.machines.values()),
        "lines_lost_at_source": gaps,
        "checks": len(accounts),
        "is_equal": not wrong and counted == truth.made_count and truth.made_count > 0,
        "details": [account.as_dict() for account in wrong[:DETAILS_MAX]],
    }


def _last(hub: Samples, machine: str) -> int:
    outputs = hub.get(("_count", tag(machine, flows.COUNTED)), [])
    value = outputs[-1].value if outputs else 0
    return value if isinstance(value, int) else -1


def _machine(evidence: Evidence, machine: str) -> list[Account]:
    truth = evidence.truth.machines.get(machine, MachineTruth())
    numbers, weights = tag(machine, "barrier"), tag(machine, "grams")
    hub = evidence.hub
    in_hub = [good(hub.get(("_tag", path), [])) for path in (numbers, weights)]
    in_history = [list(evidence.history.get(path, [])) for path in (numbers, weights)]
    accounts = [
        check_parts(f"hub {machine}", truth, *in_hub, allow_resends=True),
        _check_history(f"historian {machine}", in_hub, in_history),
        *(
            check_tail(f"edge {path}", hub.get(("_tag", path), []), _of(evidence, "_tag", path))
            for path in (numbers, weights)
        ),
    ]
    for name, expected in reference(machine, truth).items():
        path = tag(machine, name)
        stored = hub.get((CONTRACTS[name], path), [])
        accounts.append(check_outputs(f"hub {path}", expected, stored))
        rows = list(evidence.history.get(path, []))
        accounts.append(_check_history(f"historian {path}", [_newest(stored)], [rows]))
        accounts.append(check_tail(f"edge {path}", stored, _of(evidence, CONTRACTS[name], path)))
    return accounts


def _of(evidence: Evidence, contract: str, path: str) -> list[Output]:
    return [output for stream in evidence.edge for output in stream.get((contract, path), [])]


def _check_history(where: str, hub: list[list[Output]], history: list[list[Output]]) -> Account:
    """The historian has the hub's samples, each as often; it sorts them by source time."""
    account = Account(where)
    for in_hub, rows in zip(hub, history, strict=True):
        one = check_outputs(where, sorted(in_hub, key=_place), sorted(rows, key=_place))
        for name in ("expected", "stored", "lost", "duplicated", "invented", "out_of_order"):
            setattr(account, name, getattr(account, name) + getattr(one, name))
        account.examples += one.examples
    return account


def _newest(outputs: Sequence[Output]) -> list[Output]:
    """What the history keeps of results that were corrected: the newest of each time."""
    return list({output.time_ns: output for output in outputs}.values())


def _place(output: Output) -> tuple[int, str]:
    return output.time_ns, str(output.value)
