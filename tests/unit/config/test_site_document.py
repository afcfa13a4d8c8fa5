"""A document for a site: checked from afar, and at the edge with what only it knows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from millstream.config import (
    DocumentRefused,
    EdgeConfig,
    EdgeIdentity,
    InstalledConnectors,
    ManagedConfig,
    SitePlace,
    UplinkConfig,
    load_site_document,
)
from millstream.kernel import ConfigError
from millstream.sdk import Connector

TYPES = InstalledConnectors()
AFAR = SitePlace("cologne", "acme/cologne")


def at_the_edge(folder: Path, *roots: Path) -> SitePlace:
    local = EdgeConfig(
        edge=EdgeIdentity(name="cologne", path="acme/cologne", data_dir=folder / "data"),
        uplink=UplinkConfig(url="nats://hub.example:7422"),
        managed=ManagedConfig(roots=roots),
    )
    return SitePlace("cologne", "acme/cologne", local, folder)


def files(folder: str, **config: Any) -> str:
    extra = "".join(f", {name}: {value}" for name, value in config.items())
    return f"connectors:\n  - name: log\n    type: files\n    config: {{folder: {folder}, format: jsonl{extra}}}\n"


def refused(text: str, place: SitePlace, types: Mapping[str, type[Connector]] = TYPES) -> DocumentRefused:
    with pytest.raises(DocumentRefused) as caught:
        load_site_document(text, place, types)
    return caught.value


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("edge: {name: bonn}\n", "MS-2405", 1),
        ("connectors: []\nuplink: {url: 'nats://x'}\n", "MS-2405", 2),
        ("managed: {roots: [/]}\n", "MS-2405", 1),
        ("server: {}\n", "MS-2405", 1),
        ("conectors: []\n", "MS-2400", 1),
        ("connectors: 5\n", "MS-2400", 1),
        ("connectors:\n  - {name: a, type: nothing}\n", "MS-2400", 2),
        ("connectors:\n  - {name: ../a, type: files}\n", "MS-2400", 2),
        ("- 1\n", "MS-2416", 1),
        ("just text\n", "MS-2416", 1),
        ("", "MS-2416", 1),
        ("# nothing\n", "MS-2416", 1),
        ("null\n", "MS-2416", 1),
        ("a: [\n", "MS-2416", 2),
        ("a: &a [*a]\n", "MS-2416", 1),
        ("a: 1\n---\nb: 1\n", "MS-2416", 2),
        ("a: !!python/object:os.system {}\n", "MS-2416", 1),
        ("x: " + "[" * 40 + "]" * 40, "MS-2416", 1),
    ],
)
def test_what_no_site_should_get_has_its_code_and_line(text: str, code: str, line: int) -> None:
    error = refused(text, AFAR)
    assert (error.code, error.findings[0].line) == (code, line)


@pytest.mark.parametrize("folder", ["../up", "a/../../b", "~/x", "~root/x", "/srv/../etc"])
def test_a_file_name_that_leads_out_is_refused_from_afar_and_at_the_edge(tmp_path: Path, folder: str) -> None:
    assert refused(files(folder), AFAR).code == "MS-2417"
    assert refused(files(folder), at_the_edge(tmp_path)).code == "MS-2417"


def test_an_absolute_name_is_the_edges_to_allow(tmp_path: Path) -> None:
    text = files("/srv/share/lines")
    load_site_document(text, AFAR, TYPES)
    assert refused(text, at_the_edge(tmp_path)).code == "MS-2417"
    config = load_site_document(text, at_the_edge(tmp_path, Path("/srv/share")), TYPES)
    assert config.connectors[0].config.folder == Path("/srv/share/lines")  # type: ignore[union-attr]


def test_a_relative_name_is_taken_from_the_folder_of_the_edges_file(tmp_path: Path) -> None:
    config = load_site_document(files("lines"), at_the_edge(tmp_path), TYPES)
    assert config.connectors[0].config.folder == tmp_path / "lines"  # type: ignore[union-attr]


def test_the_rest_of_the_edges_file_stays(tmp_path: Path) -> None:
    place = at_the_edge(tmp_path)
    assert place.local is not None
    config = load_site_document("connectors: []", place, TYPES)
    assert (config.edge, config.uplink, config.connectors) == (place.local.edge, place.local.uplink, ())


MQTT = """
connectors:
  - name: m
    type: mqtt
    config:
      {source: broker, host: 127.0.0.1, user: u, secret: {file: secrets/m}, client_id: c,
       auto_map: [{filter: a/#, path: a}]}
"""


def test_a_secret_that_is_missing_is_told_by_the_edge_only(tmp_path: Path) -> None:
    load_site_document(MQTT, AFAR, TYPES)
    error = refused(MQTT, at_the_edge(tmp_path))
    assert (error.code, error.findings[0].code, error.findings[0].path) == (
        "MS-2400", "MS-0103", "connectors[0].config.secret",
    )  # fmt: skip
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "m").write_text("x", encoding="utf-8")
    load_site_document(MQTT, at_the_edge(tmp_path), TYPES)


class Lacking(dict[str, type[Connector]]):
    """An environment without an extra."""

    def __getitem__(self, name: str) -> type[Connector]:
        raise ConfigError("the library is missing", next_step="pip install millstream[files]", code="MS-0106")


def test_an_extra_that_is_missing_is_told_by_the_edge_only(tmp_path: Path) -> None:
    load_site_document(files("lines"), AFAR, Lacking(files=TYPES["files"]))
    error = refused(files("lines"), at_the_edge(tmp_path), Lacking(files=TYPES["files"]))
    assert (error.findings[0].code, error.findings[0].hint) == ("MS-0106", "pip install millstream[files]")
