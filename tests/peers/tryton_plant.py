"""Makes the database of a Tryton with one company, a product and productions; runs in Tryton's own environment.

python tryton_plant.py FILE      writes that SQLite file
"""

from __future__ import annotations

import datetime
import sys
import warnings
from decimal import Decimal
from pathlib import Path

MODULES = ["production_work"]  # with production, stock, product, party, company, currency, country
PASSWORD = "secret of the plant"
DAY = datetime.date(2026, 1, 2)
MACHINES = ("PRESS", "SAW", "OVEN", "MILL")
PRODUCTIONS = (
    ("4711", "PRESS", "running"),
    ("4712", "SAW", "waiting"),
    ("4713", "OVEN", "draft"),
    ("4714", "PRESS", "cancelled"),
    ("4715", "MILL", "running"),
)
WORKS = {"4715": ("Milling", "Mill 1")}  # operation and work center of a production, where there are any
BUTTONS = {"draft": (), "waiting": ("wait",), "running": ("wait", "assign_try", "run"), "cancelled": ("cancel",)}


def make(file: Path) -> None:
    """Create the tables, activate the modules, and put the plant in. The file is there when it is whole."""
    from trytond.config import config

    config.set("database", "uri", "sqlite://")
    config.set("database", "path", str(file.parent))
    from trytond import backend
    from trytond.model import ModelStorage
    from trytond.pool import Pool
    from trytond.transaction import Transaction

    making = file.with_name("making.sqlite")
    making.write_bytes(b"")
    checked, ModelStorage._validate = vars(ModelStorage)["_validate"], classmethod(lambda *_, **__: None)
    backend.Database("making").connect().init()
    Pool.start()
    pool = Pool("making")
    # The modules' own records need no checks here: they would take three quarters of the time.
    pool.init(update=MODULES, lang=["en"], activatedeps=True)
    ModelStorage._validate = checked
    with Transaction().start("making", 1, context={"language": "en"}) as transaction:
        company = make_company(pool)
        with transaction.set_context(company=company):
            make_plant(pool)
    making.rename(file)


def make_company(pool: object) -> int:
    """The company, and a user of it who may do everything."""
    create = Create(pool)
    currency = create("currency.currency", name="Euro", symbol="E", code="EUR")
    company = create("company.company", party=create("party.party", name="Acme").id, currency=currency.id)
    User = pool.get("res.user")
    values = {"companies": [("add", [company.id])], "company": company.id, "password": PASSWORD}
    User.write([User(1)], values)
    return company.id


def make_plant(pool: object) -> None:
    """Machines, bolts, a production of them in each of several states, and one with an operation."""
    create = Create(pool)
    Location, Production = pool.get("stock.location"), pool.get("production")
    (unit,) = pool.get("product.uom").search([("name", "=", "Unit")])
    (warehouse,) = Location.search([("type", "=", "warehouse")])
    lost = Location.search([("type", "=", "lost_found")])
    Location.write(lost, {"waste_warehouses": [("add", [warehouse.id])]})
    template = create(
        "product.template", name="Bolt", default_uom=unit.id, type="goods", producible=True, list_price=Decimal(1),
        products=[("create", [{"suffix_code": "M6"}])],
    )  # fmt: skip
    machines = {code: create("stock.location", name=code, code=code, type="production") for code in MACHINES}
    for number, machine, state in PRODUCTIONS:
        production = create(
            "production", number=number, product=template.products[0].id, unit=unit.id, quantity=100.0,
            warehouse=warehouse.id, location=machines[machine].id, planned_start_date=DAY, planned_date=DAY,
        )  # fmt: skip
        Production.set_moves([production])
        if number in WORKS:
            operation, center = WORKS[number]
            create(
                "production.work", production=production.id, company=production.company.id,
                operation=create("production.routing.operation", name=operation).id,
                work_center=create("production.work.center", name=center, warehouse=warehouse.id, cost_method="hour",
                                   cost_price=Decimal(60)).id,
            )  # fmt: skip
        for button in BUTTONS[state]:
            getattr(Production, button)([production])
        assert Production(production.id).state == state


class Create:
    """Creates one record of a model."""

    def __init__(self, pool: object) -> None:
        self._pool = pool

    def __call__(self, model: str, **values: object) -> object:
        (record,) = self._pool.get(model).create([values])
        return record


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    make(Path(sys.argv[1]))
