"""What a contract file holds: the contracts that `millstream contract` checks and publishes, as YAML or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from millstream.config._finding import Finding, Findings
from millstream.config._load import load_file
from millstream.config._types import Section
from millstream.protocols.contract import CONTRACTS_COUNT_MAX, Contract, check_contract


class ContractEntry(Section):
    """One contract."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    name: str
    """Unique in the registry: a to z, digits and hyphens."""
    kind: str = "tag"
    """`tag`, `count`, `kpi`, `state` for samples; `event`, `alarm`, `cmd`, `ack` for events."""
    paths: tuple[str, ...]
    """Paths or patterns of what keeps it: `acme/plant1/press*:temperature`."""
    value_schema: Any = Field(default=True, alias="schema")
    """JSON Schema of the value, of an event: of its data."""
    unit: str | None = None
    """Unit of the value; left out: any."""
    columns: tuple[str, ...] = ()
    """Types that the values of Arrow blocks may have, such as `float64`; left out: any."""
    event_type: str | None = None
    """Of events: only those of this CloudEvents type; a final `*` stands for any ending."""
    description: str | None = None
    """For people."""
    enforced: bool = True
    """`false`: nothing is checked from this version on."""
    retention: str | None = None
    """Age at which histories drop the samples, or `never`; left out: as for all others."""
    minute_rollups: str | None = None
    """Age at which histories drop aggregates of minutes, or `never`; left out: as for all others."""
    hour_rollups: str | None = None
    """Age at which histories drop aggregates of hours, or `never`; left out: as for all others."""

    def as_contract(self) -> Contract:
        """The contract, not published yet."""
        return Contract(
            self.name, self.kind, self.paths, self.value_schema, self.unit, self.columns, self.event_type,
            self.description, self.enforced, retention=self.retention, minute_rollups=self.minute_rollups,
            hour_rollups=self.hour_rollups,
        )  # fmt: skip


class ContractFile(Section):
    """A contract file."""

    contracts: tuple[ContractEntry, ...] = Field(min_length=1, max_length=CONTRACTS_COUNT_MAX)
    """The contracts."""


def load_contracts(path: Path) -> tuple[list[Contract], list[Finding]]:
    """Load a contract file. There are contracts exactly when there are no findings; never raises for a bad file."""

    def _check(raw: Any, model: ContractFile | None, found: Findings) -> ContractFile | None:
        names: set[str] = set()
        for index, entry in enumerate(model.contracts if model is not None else ()):
            for where, what in check_contract(entry.as_contract()):
                found.add(("contracts", index, *where), what, code="MS-0331")
            if entry.name in names:
                found.add(("contracts", index, "name"), f"{entry.name!r} stands here twice", code="MS-0331")
            names.add(entry.name)
        return model

    file, findings = load_file(path, ContractFile, _check)
    return [entry.as_contract() for entry in file.contracts] if file is not None else [], findings
