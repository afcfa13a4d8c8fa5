"""The file of `millstream erp`: which systems there are, what is read from them, and what is confirmed to them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, JsonValue, model_validator

from millstream.config._finding import Finding
from millstream.config._load import load_file
from millstream.kernel import DecodeError
from millstream.model import AssetPath
from millstream.protocols.mqtt_mapping import parse_path
from millstream.protocols.row_mapping import find_zone
from millstream.sdk import ConfigPath, Duration, SecretRef, Strict

READ_KINDS = ("tryton", "rest", "sql")
Cells = Literal["order", "product", "operator", "reason", "asset", "relation", "template"]
NEEDED: Mapping[str, Sequence[str]] = {
    "order": ("order", "asset", "product", "start"), "product": ("product", "ideal_cycle_s"),
    "operator": ("operator", "asset", "start"), "reason": ("reason",), "asset": ("path", "level"),
    "relation": ("from", "relation", "to"), "template": ("template", "property", "type"),
}  # fmt: skip
"""The cells without which a row is none."""
OPTIONAL: Mapping[str, Sequence[str]] = {
    "order": ("operation", "end", "quantity"), "product": ("name",), "operator": ("end", "name"),
    "reason": ("name", "parent", "kind"), "relation": (), "template": ("required",),
}  # fmt: skip
REMOVABLE = ("order", "product", "reason")
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"
_AT = re.compile(r"([01]\d|2[0-3]):[0-5]\d\Z|24:00\Z")


def _check_place(text: str) -> str:
    try:
        AssetPath.parse(text)
    except DecodeError as error:
        raise ValueError(f"not a place: {error.what}") from error
    return text


def _check_zone(name: str) -> str:
    find_zone(name)
    return name


def _check_field(text: str) -> str:
    if text.startswith("$"):
        try:
            parse_path(text)
        except DecodeError as error:
            raise ValueError(f"not a JSON path: {text}") from error
    return text


FieldName = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_check_field)]
"""A field of a row: its name, names with dots between for one within another, or a JSON path (`$.a[0]`)."""


class SystemConfig(Strict):
    """What every system has."""

    timeout: Duration = Field(default=30.0, gt=0)
    """How long one answer may take."""


class TrytonSystem(SystemConfig):
    """A Tryton server, over JSON-RPC."""

    type: Literal["tryton"]
    """`tryton`."""
    url: str = Field(pattern=r"^https?://[^/?#]+/?$")
    """Its address without the database, e.g. https://erp.acme.example:8000."""
    database: str = Field(min_length=1)
    """The database."""
    user: str
    """Log in as; a user of its own, whose company is the one that is meant."""
    password: SecretRef
    """Its password."""
    ca_file: ConfigPath | None = None
    """Authorities in PEM; left out: the system's."""


class RestSystem(SystemConfig):
    """A server that answers with JSON, such as an OData service."""

    type: Literal["rest"]
    """`rest`."""
    url: str = Field(pattern=r"^https?://[^?#]+$")
    """What the addresses of reads and confirmations begin with."""
    user: str | None = None
    """For HTTP Basic, with `secret` as the password."""
    secret: SecretRef | None = None
    """The password, or without `user` the token: `Authorization: Bearer`."""
    header: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]+$")
    """Send the secret in this header instead, e.g. X-API-Key."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Headers of each request."""
    ca_file: ConfigPath | None = None
    """Authorities in PEM; left out: the system's."""
    bytes_max: int = Field(default=16 << 20, ge=1024, le=256 << 20)
    """The largest answer that is taken."""

    @model_validator(mode="after")
    def _fits(self) -> RestSystem:
        if urlsplit(self.url).username is not None:
            raise ValueError("url holds a user; use 'user' and 'secret'")
        if (self.user is not None or self.header is not None) and self.secret is None:
            raise ValueError("user and header need a 'secret'")
        if self.user is not None and self.header is not None:
            raise ValueError("give user or header, not both")
        return self


class SqlSystem(SystemConfig):
    """A database."""

    type: Literal["sql"]
    """`sql`."""
    url: str | None = None
    """The database as SQLAlchemy names it, e.g. postgresql+psycopg://user@host:5432/mes; without a password."""
    file: ConfigPath | None = None
    """A SQLite file, in place of url."""
    secret: SecretRef | None = None
    """The password of the user in url."""
    connect_args: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """What the driver takes beside."""

    @model_validator(mode="after")
    def _fits(self) -> SqlSystem:
        if (self.url is None) == (self.file is None):
            raise ValueError("give exactly one of 'url' and 'file'")
        return self


System = Annotated[TrytonSystem | RestSystem | SqlSystem, Field(discriminator="type")]


class CellConfig(Strict):
    """Where one cell of a row comes from, and how it is put into Millstream's words."""

    field: FieldName | None = None
    """The field of the system's row."""
    value: str | None = None
    """The same for every row, in place of a field."""
    names: Mapping[str, str] | None = None
    """What the system's values are called here, e.g. a machine's number and its place; others are refused."""
    default: str | None = None
    """Where the field is empty."""
    form: str = "iso"
    """Of a time: iso, s, ms, us, ns (since 1970), or a format of strptime."""
    zone: Annotated[str, AfterValidator(_check_zone)] = "UTC"
    """Zone of times that do not name theirs."""
    at: str = "00:00"
    """The time of day of a date without one; 24:00 is its end."""

    @model_validator(mode="after")
    def _fits(self) -> CellConfig:
        if (self.field is None) == (self.value is None):
            raise ValueError("give exactly one of 'field' and 'value'")
        if _AT.match(self.at) is None:
            raise ValueError("at is a time of day, such as 06:00 or 24:00")
        return self


class RemovedConfig(Strict):
    """Which rows say that something is no more."""

    field: FieldName
    """The field that tells it, e.g. state."""
    values: tuple[str, ...] = Field(min_length=1, max_length=50)
    """Its values that mean it, e.g. cancelled."""


class TrytonRead(Strict):
    """Records of a Tryton model."""

    model: str = Field(pattern=r"^[a-z][a-z0-9_.]*$")
    """The model, e.g. production or production.work."""
    where: Sequence[JsonValue] = ()
    """Which records, as a Tryton domain, e.g. [[state, in, [draft, running]]]; all of them are read each time."""


class ChangedConfig(Strict):
    """How a server is asked for what has changed only."""

    parameter: str
    """The parameter of the address, e.g. $filter."""
    text: str = "{since}"
    """What it holds, e.g. "changedAt ge {since}"."""
    field: FieldName
    """The field of a row by which it knows that; the highest one is asked for the next time."""

    @model_validator(mode="after")
    def _fits(self) -> ChangedConfig:
        if "{since}" not in self.text:
            raise ValueError("text holds {since}")
        return self


class RestRead(Strict):
    """Rows of a server's JSON answers, page by page."""

    path: str = Field(max_length=2000)
    """Behind the system's url, e.g. /ProductionOrders."""
    items: FieldName = "$.value"
    """Where the answer has its rows; `$` is the answer itself."""
    next: FieldName | None = "$['@odata.nextLink']"
    """Where it has the address of its next page (OData 2: $.d.__next)."""
    parameters: dict[str, str] = Field(default_factory=dict)
    """Parameters of the address, e.g. $select."""
    skip: str | None = None
    """The parameter with the number of rows to leave out, for servers that page so, e.g. $skip."""
    top: str | None = None
    """The parameter with the number of rows of a page, e.g. $top."""
    changed: ChangedConfig | None = None
    """Ask for changes only; left out: everything each time."""

    @model_validator(mode="after")
    def _fits(self) -> RestRead:
        if self.skip is not None and self.top is None:
            raise ValueError("skip needs top: without it nobody knows which page is the last")
        return self


class SqlRead(Strict):
    """Rows of a table or query, by a column that only grows."""

    table: str | None = None
    """The table or view, with its schema if needed."""
    query: str | None = None
    """A SELECT in place of table, without ORDER BY and LIMIT."""
    key: tuple[str, ...] = Field(min_length=1, max_length=4)
    """The column that grows with each change (a number or a time); several are compared one after the other."""
    overlap: Duration = 0.0
    """Keys that are times: rows may come so much later than ones with a higher key (long transactions)."""
    overlap_steps: int = Field(default=0, ge=0)
    """Keys that are numbers: the same, as a difference of keys."""


class RouteConfig(Strict):
    """What reads and confirmations have."""

    name: str = Field(pattern=_NAME)
    """Its name; a read stands under it as the author of what comes in."""
    system: str
    """Which system."""

    @property
    def kind(self) -> str:
        """Of which type its system is."""
        return next(kind for kind in READ_KINDS if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(getattr(self, kind, None) is not None for kind in READ_KINDS) != 1:
            raise ValueError(f"give exactly one of {', '.join(READ_KINDS)}")
        return self


class ReadConfig(RouteConfig):
    """One sort of thing that a system knows."""

    what: Cells
    """What a row is."""
    every: Duration = Field(default=60.0, ge=0.05)
    """Pause between two looks."""
    page_rows: int = Field(default=200, ge=1, le=1000)
    """Rows of one page."""
    cells: Mapping[str, FieldName | CellConfig] = Field(min_length=1)
    """The cells of a row, named as the columns of `millstream context import`, by field."""
    removed: RemovedConfig | None = None
    """Rows that take away what they name."""
    tryton: TrytonRead | None = None
    """What is read from a Tryton."""
    rest: RestRead | None = None
    """What is read from a server."""
    sql: SqlRead | None = None
    """What is read from a database."""

    @model_validator(mode="after")
    def _fits(self) -> ReadConfig:
        missing = [cell for cell in NEEDED[self.what] if cell not in self.cells]
        if missing:
            raise ValueError(f"cells of {self.what} lack {', '.join(missing)}")
        known = {*NEEDED[self.what], *OPTIONAL.get(self.what, self.cells)}
        if unknown := [cell for cell in self.cells if cell not in known]:
            raise ValueError(f"{self.what} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        if self.removed is not None and self.what not in REMOVABLE:
            raise ValueError(f"only {', '.join(REMOVABLE)} can be removed by a row")
        return self

    @property
    def is_whole(self) -> bool:
        """True when each look reads all that there is."""
        return self.sql is None and (self.rest is None or self.rest.changed is None)

    def cell(self, name: str) -> CellConfig:
        """Where a cell comes from."""
        found = self.cells[name]
        return CellConfig(field=found) if isinstance(found, str) else found


class CloseConfig(Strict):
    """When a production is closed."""

    when: Literal["quantity", "ended"] = "quantity"
    """`quantity`: as many parts are good as were ordered. `ended`: the order has an `end` as context tells it."""
    after: Duration = Field(default=7200.0, ge=0)
    """So long behind that, and behind the last total: longer than a window of `oee` and what comes late for it."""


class TrytonConfirm(Strict):
    """Quantities of the outputs of productions, and the time of their works."""

    number: str = "{order}"
    """The number of the production."""
    scrap_location: str | None = None
    """Code or name of the location that rejected parts go to; left out: the warehouse's own for waste."""
    start: bool = False
    """Assign and run a production that waits when its first parts are made; without it that is refused until somebody
    does."""
    quantities: bool = True
    """Set the quantities; false where these are parts of an operation that is not the last one."""
    work: Mapping[str, str] | None = Field(default=None, min_length=1, max_length=4)
    """The production's work that takes the time, by its fields, e.g. {operation.name: "{operation}"}; left out: time is
    not told. (Module production_work.)"""
    close: CloseConfig | None = None
    """Finish the work, and with `quantities` close the production (Do) when its order is over; left out: somebody does
    it in Tryton."""

    @model_validator(mode="after")
    def _does_something(self) -> TrytonConfirm:
        if not self.quantities and self.work is None:
            raise ValueError("quantities, work or both")
        return self


class RestConfirm(Strict):
    """A request for each confirmation."""

    method: Literal["POST", "PUT", "PATCH"] = "POST"
    """Which."""
    path: str = Field(max_length=2000)
    """Behind the system's url, e.g. /Orders('{order}')/confirmations."""
    body: Mapping[str, JsonValue] = Field(min_length=1)
    """The JSON that is sent; in texts {good} and so on are replaced, one that is nothing else keeps its type."""
    key_header: str = Field(default="Idempotency-Key", pattern=r"^[A-Za-z0-9-]+$")
    """The header by which the server knows a confirmation again."""
    known: tuple[int, ...] = (409,)
    """Answers that mean: this key was taken before."""


class SqlConfirm(Strict):
    """A row for each order, or for each confirmation, in a table."""

    table: str
    """The table, with its schema if needed."""
    key: Mapping[str, str] = Field(min_length=1, max_length=8)
    """The columns that name the row, e.g. {order_no: "{order}"}; with "{key}" each confirmation has a row of its own.
    A unique index on them keeps two senders apart."""
    columns: Mapping[str, str] = Field(min_length=1)
    """The columns that are set, e.g. {good: "{good}"}."""
    revision: str = "revision"
    """The column with the revision: a row is only changed by a higher one."""


class ConfirmConfig(RouteConfig):
    """Where totals of orders go."""

    reads: tuple[str, ...] = ("**:made/*",)
    """Where the totals of the flow `order_made` stand, as patterns."""
    only_known: bool = True
    """Confirm orders only that are known as context; others are left alone."""
    every: Duration = Field(default=10.0, ge=0.05)
    """Pause between two looks."""
    again: Duration = Field(default=300.0, ge=0.05)
    """When to try again what the system has refused, if nothing newer comes."""
    tryton: TrytonConfirm | None = None
    """How it is told to a Tryton."""
    rest: RestConfirm | None = None
    """How it is told to a server."""
    sql: SqlConfirm | None = None
    """How it is told to a database."""

    @property
    def tells_time(self) -> bool:
        """Whether another time is another total: it is told to a work, or texts name it."""
        if self.tryton is not None:
            return self.tryton.work is not None
        told = self.rest.body if self.rest is not None else self.sql.columns if self.sql is not None else {}
        return any(f"{name}_s" in str(told) for name in ("production", "setup"))


class ErpConfig(Strict):
    """The file of `millstream erp`."""

    journal: ConfigPath
    """What was read up to where, and what was confirmed: keep it. One process at a time."""
    place: Annotated[str, AfterValidator(_check_place)]
    """Where products, reasons and templates stand, such as acme/plant1."""
    systems: Mapping[str, System] = Field(min_length=1, max_length=20)
    """Systems by name."""
    reads: tuple[ReadConfig, ...] = Field(default=(), max_length=100)
    """What comes in."""
    confirms: tuple[ConfirmConfig, ...] = Field(default=(), max_length=20)
    """What goes out."""

    @model_validator(mode="after")
    def _fits(self) -> ErpConfig:
        routes: list[RouteConfig] = [*self.reads, *self.confirms]
        for each in routes:
            system = self.systems.get(each.system)
            if system is None:
                raise ValueError(f"{each.name}: no system {each.system!r}")
            if system.type != each.kind:
                raise ValueError(f"{each.name}: {each.system} is of type {system.type}, not {each.kind}")
        names = [each.name for each in routes]
        if len(set(names)) < len(names):
            raise ValueError("two reads or confirmations have one name")
        return self


def load_erp(path: Path) -> tuple[ErpConfig | None, list[Finding]]:
    """Load the file; None exactly when there are findings."""

    def check(raw: Any, model: ErpConfig | None, findings: Any) -> ErpConfig | None:
        return model

    return load_file(path, ErpConfig, check)
