"""Rows come in once and are tried again until they are taken; totals go out once, also over a kill."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fake_plant import FakePlant, Quick, web

from millstream.config import ErpConfig, load_erp
from millstream.erp import open_erp
from millstream.erp._book import open_book

DEADLINE_S = 60.0
ORDERS = """
journal: erp.jsonl
place: acme/p1
systems: {mes: {type: sql, file: mes.sqlite}}
reads:
  - name: orders
    system: mes
    what: order
    sql: {table: orders, key: [changed], overlap_steps: 2}
    removed: {field: state, values: [cancelled]}
    cells:
      {order: no, asset: {field: machine, names: {P1: acme/p1/press, P2: acme/p1/saw}}, product: item, start: begins}
confirms:
  - name: back
    system: mes
    only_known: false
    sql:
      table: done
      key: {no: "{order}"}
      columns: {good: "{good}", scrap: "{rejected}"}
"""


def config_of(folder: Path, text: str = ORDERS) -> ErpConfig:
    (folder / "erp.yaml").write_text(text, encoding="utf-8")
    config, findings = load_erp(folder / "erp.yaml")
    assert config is not None, [str(f) for f in findings]
    return config


class Mes:
    """A database of somebody else."""

    def __init__(self, folder: Path) -> None:
        self.link = sqlite3.connect(folder / "mes.sqlite", isolation_level=None)
        self.link.execute(
            "create table orders (no text, machine text, item text, begins text, state text, changed int)"
        )
        self.link.execute("create table done (no text primary key, good real, scrap real, revision int)")
        self.changes = 0

    def order(self, no: str, machine: str, item: str = "M6", state: str = "open") -> None:
        self.changes += 1
        self.link.execute("delete from orders where no = ?", (no,))
        row = (no, machine, item, "2026-07-01T06:00:00", state, self.changes)
        self.link.execute("insert into orders values (?, ?, ?, ?, ?, ?)", row)

    def done(self) -> list[Any]:
        return self.link.execute("select no, good, scrap, revision from done order by no").fetchall()


async def look(plant: FakePlant, config: ErpConfig) -> list[dict[str, Any]]:
    """Each read and confirmation once; what was told."""
    told: list[dict[str, Any]] = []
    async with open_erp(plant, config, Quick(), lambda what: told.append(dict(what))) as erp:  # type: ignore[arg-type]
        for read, incoming in erp._reads:
            await erp._look(read, incoming)
        for confirm, outgoing in erp._confirms:
            await erp._send(confirm, outgoing)
    return told


async def test_rows_of_a_table_come_in_once_and_refused_ones_when_they_can_be_taken(tmp_path: Path) -> None:
    mes, plant, config = Mes(tmp_path), FakePlant(), config_of(tmp_path)
    mes.order("4711", "P1")
    mes.order("4712", "P9")
    (told,) = await look(plant, config)
    assert {each["row"]: each["reason"] for each in told["newly_refused"]} == {
        "4711": "no such product: 'M6'", "4712": "asset: nobody has said what this is called here, got 'P9'",
    }  # fmt: skip
    assert len(plant.aside) == 2
    assert await look(plant, config) == [], "nothing new, and nothing is told twice"
    plant.knows("acme/p1:product/M6", "product", ideal_cycle_s=1.5)
    (told,) = await look(plant, config)
    assert (told["rows"], told["taken"], told["refused"]) == (0, 1, 1), "it was kept"
    assert plant.facts["acme/p1/press:order/4711"].who == "erp orders"
    assert len(plant.aside) == 2

    mes.order("4711", "P2")  # another machine
    mes.order("4712", "P1", item="M8")
    (told,) = await look(plant, config)
    assert "acme/p1/saw:order/4711" in plant.facts
    assert "acme/p1/press:order/4711" not in plant.facts
    assert told["newly_refused"] == [{"row": "4712", "reason": "no such product: 'M8'"}]
    mes.order("4711", "P2", state="cancelled")
    await look(plant, config)
    assert [path for path in plant.facts if ":order/" in path] == []
    mes.link.close()


async def test_the_same_name_of_another_author_is_left_alone(tmp_path: Path) -> None:
    mes, plant, config = Mes(tmp_path), FakePlant(), config_of(tmp_path)
    plant.knows("acme/p1:product/M6", "product", ideal_cycle_s=1.5)
    plant.knows("acme/p1/saw:order/4711", "order", order="4711")
    mes.order("4711", "P1", state="cancelled")
    await look(plant, config)
    assert list(plant.facts) == ["acme/p1:product/M6", "acme/p1/saw:order/4711"]
    mes.link.close()


async def test_totals_are_put_into_a_table_and_an_older_one_never_covers_a_newer(tmp_path: Path) -> None:
    mes, plant, config = Mes(tmp_path), FakePlant(), config_of(tmp_path)
    plant.made("4711", 57, 3, 2)
    plant.made("4711", 10, 0, 1, asset="acme/p1/saw")  # it ran there too
    (told,) = await look(plant, config)
    assert (told["how"], mes.done()) == ("set", [("4711", 67.0, 3.0, 3)])
    assert await look(plant, config) == []
    (tmp_path / "erp.jsonl").unlink()
    (told,) = await look(plant, config)
    assert told["how"] == "known", "its journal is lost, and the table knows the revision"
    plant.made("4711", 55, 5, 3)
    await look(plant, config)
    assert mes.done() == [("4711", 65.0, 5.0, 4)]
    plant.totals = []
    plant.made("4711", 1, 0, 1)
    (told,) = await look(plant, config)
    assert (told["state"], told["code"], mes.done()[0][3]) == ("refused", "MS-2807", 4)
    assert await look(plant, config) == [], "told once"
    mes.link.execute("drop table done")
    plant.made("4711", 55, 5, 9)
    (told,) = await look(plant, config)
    assert (told["state"], told["code"]) == ("refused", "MS-2803")
    mes.link.close()


REST = """
journal: erp.jsonl
place: acme/p1
systems: {erp: {type: rest, url: "URL"}}
confirms:
  - name: back
    system: erp
    again: 1h
    rest: {path: "/done", body: {order: "{order}", op: "{operation}", more: "{good_more}", all: "{good}"}}
"""


async def test_differences_are_told_once_and_what_has_no_end_is_told_again_as_it_was(tmp_path: Path) -> None:
    plant, answers = FakePlant(), [(201, b"", {}), (422, b"closed", {}), (201, b"", {}), (201, b"", {})]
    plant.knows("acme/p1/press:order/4711-10", "order", order="4711", operation="10")
    plant.made("4711-10", 50, 0, 1)
    plant.made("4799", 9, 0, 1)  # no order that anybody told: not confirmed
    with web(lambda _, count: answers[count - 1]) as (url, came):
        config = config_of(tmp_path, REST.replace("URL", url))

        def told() -> list[tuple[str, Any]]:
            return [(headers["Idempotency-Key"], json.loads(body)) for _, _, headers, body in came]

        await look(plant, config)
        assert told() == [("back/4711-10/1", {"order": "4711", "op": "10", "more": 50.0, "all": 50.0})]
        plant.made("4711-10", 80, 0, 2)
        (refused,) = await look(plant, config)
        assert (refused["state"], refused["got"]) == ("refused", "422 closed")
        assert await look(plant, config) == [], "not before its time"
        with open_book(
            config.journal
        ) as book:  # as it is when the process is killed behind the third request's way out
            entry = book.get("confirm/back/4711-10")
            begun = {
                "order": "4711-10", "key": "back/4711-10/3", "revision": 3, "good": 90.0, "rejected": 0.0,
                "values": {
                    "order": "4711", "operation": "10", "good": 90.0, "good_more": 40.0, "rejected": 0.0,
                    "produced": 90.0,
                },
            }  # fmt: skip
            book.put("confirm/back/4711-10", {"taken": entry["taken"], "begun": begun})
        plant.made("4711-10", 95, 0, 4)
        await look(plant, config)
        assert told()[2:] == [("back/4711-10/3", {"order": "4711", "op": "10", "more": 40.0, "all": 90.0})]
        await look(plant, config)
        assert told()[3:] == [("back/4711-10/4", {"order": "4711", "op": "10", "more": 5.0, "all": 95.0})]


async def test_a_system_that_is_away_is_asked_again_and_told_of_once(tmp_path: Path) -> None:
    plant, told, done = FakePlant(), [], asyncio.Event()
    plant.knows("acme/p1/press:order/4711", "order", order="4711")
    plant.made("4711", 50, 0, 1)

    def tell(what: Any) -> None:
        told.append(what["state"])
        if what["state"] == "well again":
            done.set()

    with web(lambda _, count: (503, b"", {}) if count < 4 else (201, b"", {})) as (url, came):
        config = config_of(tmp_path, REST.replace("URL", url))
        async with open_erp(plant, config, Quick(), tell) as erp:  # type: ignore[arg-type]
            assert (await erp.check())["confirms"][0]["due"][0]["good"] == 50
            assert came == []
            running = asyncio.create_task(erp.run())
            async with asyncio.timeout(DEADLINE_S):
                await done.wait()
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
    assert told == ["in trouble", "confirmed", "well again"]
    assert {headers["Idempotency-Key"] for _, _, headers, _ in came} == {"back/4711/1"}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("system: mes\n    what", "system: nobody\n    what", "no system 'nobody'"),
        ("sql: {table: orders, key: [changed], overlap_steps: 2}", "tryton: {model: production}", "is of type sql"),
        ("product: item, ", "", "lack product"),
        ("product: item", "product: item, colour: x", "has no colour"),
        ("place: acme/p1", "place: acme//p1", "not a place"),
        ("name: back", "name: orders", "one name"),
    ],
)
def test_a_file_that_cannot_work_is_refused_with_its_reason(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in ORDERS
    (tmp_path / "erp.yaml").write_text(ORDERS.replace(old, new), encoding="utf-8")
    config, findings = load_erp(tmp_path / "erp.yaml")
    assert config is None
    assert says in "\n".join(map(str, findings))
