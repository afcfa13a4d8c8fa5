"""A folder of sites: what is joined, where its errors stand, and documents compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from millstream.config import (
    DocumentRefused,
    PathChange,
    SitePlace,
    blame,
    diff_documents,
    dump_yaml,
    load_folder,
    load_site_document,
)
from millstream.config._yaml import parse_yaml
from millstream.kernel import PlantError

BASE = """
streams: {integrity: {max_bytes: 64MiB, when_full: thin}}
connectors:
  - name: press
    type: modbus
    sampling_interval: 1s
    config: {host: 127.0.0.1, port: 502}
    tags:
      - {name: force, address: "holding:1", unit: kN}
      - {name: speed, address: "holding:2", unit: rpm}
  - {name: oven, type: modbus, config: {host: 127.0.0.2}}
"""
SITE = """
streams: {integrity: {when_full: null}}
connectors:
  - name: press
    sampling_interval: 500ms
    tags:
      - {name: speed, unit: Hz}
      - {name: heat, address: "holding:3"}
  - {name: own, type: modbus, config: {host: 127.0.0.3}}
"""


def folder(path: Path, base: str | None = BASE, **sites: str) -> Path:
    (path / "sites").mkdir(parents=True)
    if base is not None:
        (path / "base.yaml").write_text(base, encoding="utf-8")
    for name, text in sites.items():
        (path / "sites" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return path


def test_a_site_stands_over_the_base_key_by_key_and_name_by_name(tmp_path: Path) -> None:
    (found,) = load_folder(folder(tmp_path, cologne=SITE))
    assert found.edge == "cologne"
    assert parse_yaml(found.text).plain() == {
        "streams": {"integrity": {"max_bytes": "64MiB"}},
        "connectors": [
            {
                "name": "press", "type": "modbus", "sampling_interval": "500ms",
                "config": {"host": "127.0.0.1", "port": 502},
                "tags": [
                    {"name": "force", "address": "holding:1", "unit": "kN"},
                    {"name": "speed", "address": "holding:2", "unit": "Hz"},
                    {"name": "heat", "address": "holding:3"},
                ],
            },
            {"name": "oven", "type": "modbus", "config": {"host": "127.0.0.2"}},
            {"name": "own", "type": "modbus", "config": {"host": "127.0.0.3"}},
        ],
    }  # fmt: skip


def test_without_a_base_a_site_is_its_file_with_all_comments(tmp_path: Path) -> None:
    (found,) = load_folder(folder(tmp_path, base=None, cologne="# why\nconnectors: []\n"))
    assert found.text == "# why\nconnectors: []\n"


def test_an_error_is_told_with_the_file_and_line_that_it_stands_in(tmp_path: Path, catalog: Any) -> None:
    base = BASE.replace("type: modbus\n    sampling", "type: fake\n    sampling").replace("1s", "1")
    site = SITE.replace("500ms", "3s").replace("  - name: press", "  - name: press\n    colour: red")
    (found,) = load_folder(folder(tmp_path, base, cologne=site.replace("    sampling_interval: 3s\n", "")))
    with pytest.raises(DocumentRefused) as caught:
        load_site_document(found.document, SitePlace("cologne", "acme/cologne"), catalog, file=found.file)
    places = {(Path(f.file).name, f.line, f.path) for f in caught.value.findings}
    assert ("base.yaml", 6, "connectors[0].sampling_interval") in places
    assert ("cologne.yaml", 5, "connectors[0].colour") in places


@pytest.mark.parametrize("name", ["a b", ".hidden", "../up", "x" * 40])
def test_a_file_that_is_no_sites_is_refused(tmp_path: Path, name: str) -> None:
    made = folder(tmp_path / "f")
    (made / "sites" / f"{name.replace('/', '_')}.yaml").write_text("", encoding="utf-8")
    with pytest.raises(PlantError) as caught:
        load_folder(made)
    assert caught.value.code == "MS-2421"


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    made = folder(tmp_path / "f")
    (tmp_path / "secret.yaml").write_text("connectors: []\n", encoding="utf-8")
    (made / "sites" / "cologne.yaml").symlink_to(tmp_path / "secret.yaml")
    with pytest.raises(PlantError, match="MS-2421"):
        load_folder(made)


def test_a_folder_without_sites_and_a_wrong_base_are_told(tmp_path: Path) -> None:
    for base in ("[1]", "a: b: c", None):
        made = tmp_path / str(base)
        made.mkdir()
        if base is not None:
            folder(made, base, cologne="connectors: []\n")
        with pytest.raises(PlantError, match="MS-2421"):
            load_folder(made)


def test_differences_are_told_by_name_and_not_by_place() -> None:
    old = "connectors:\n  - {name: a, type: x}\n  - {name: b, type: y, tags: [1, 2]}\n"
    new = "connectors:\n  - {name: b, type: z, tags: [1]}\n  - {name: c, type: x}\n"
    assert diff_documents(old, new) == [
        PathChange("connectors[b].type", '"y"', '"z"'),
        PathChange("connectors[c].name", None, '"c"'),
        PathChange("connectors[c].type", None, '"x"'),
        PathChange("connectors[a].name", '"a"', None),
        PathChange("connectors[a].type", '"x"', None),
        PathChange("connectors[b].tags[1]", "2", None),
    ]
    assert diff_documents(old, "# a comment\n" + old) == []


def test_blame_names_the_revision_that_set_each_value() -> None:
    found = blame([
        ("one", "connectors:\n  - {name: a, type: x}\n"),
        ("two", "connectors:\n  - {name: a, type: y}\n  - {name: b, type: x}\n"),
        ("three", "connectors:\n  - {name: b, type: x}\n  - {name: a, type: y, path: p}\n"),
    ])  # fmt: skip
    assert {row.path: row.by for row in found} == {
        "connectors[b].name": "two", "connectors[b].type": "two", "connectors[a].name": "one",
        "connectors[a].type": "two", "connectors[a].path": "three",
    }  # fmt: skip


TRICKY = ["no", "1e3", "0o17", "007", "1:30", ".inf", "~", "", " a", "a ", "a: b", "# a", "- a", "*a", "é", "a\nb",
          "0x1F", "true", "True", "null", "<<", "=", "1.", ".5", "+1", "2026-01-01", "holding:1", "a\tb"]  # fmt: skip
scalars = (
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False)
    | st.sampled_from(TRICKY) | st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=12)
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(values)
@example(1e22)
@example([-1e-07, 1.5e300])
def test_what_is_written_is_read_as_the_same(value: Any) -> None:
    document = parse_yaml(dump_yaml({"value": value}))
    assert not document.troubles
    assert document.plain() == {"value": value}
    assert dump_yaml(document.plain()) == dump_yaml({"value": value})
