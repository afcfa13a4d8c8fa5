"""The edge's file that a join writes is one that an edge takes, whatever the hub is."""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.cli._join import edge_file
from millstream.config import InstalledConnectors, load_edge
from millstream.edge import JoinedEdge
from millstream.trust import FORMAT, JoinFile, encode_join_file, parse_join_file


@pytest.mark.parametrize("more", [[], ["tls://b.example:7422", "tls://c.example:7422"]])
def test_it_names_all_boxes_of_the_hub(tmp_path: Path, more: list[str]) -> None:
    found = JoinFile(
        format=FORMAT, tenant="acme", site="cologne", place="acme/cologne", hub_url="tls://a.example:7422",
        operator_public="O", plant_public="A", creds="", expires_s=1, labels={"region": "west"}, more_urls=more,
    )  # fmt: skip
    found = parse_join_file(encode_join_file(found), where="test")
    creds, authority = tmp_path / "uplink.creds", tmp_path / "uplink.ca"
    for file in (creds, authority):
        file.write_text("x", encoding="ascii")
    path = tmp_path / "edge.yaml"
    path.write_text(edge_file(found, JoinedEdge("U", creds, authority), tmp_path / "data", path.name), encoding="utf-8")
    loaded, findings = load_edge(path, InstalledConnectors(), {})
    assert loaded is not None, findings
    assert loaded.uplink is not None
    assert (loaded.uplink.url, list(loaded.uplink.more_urls)) == ("tls://a.example:7422", more)
    assert loaded.edge.labels == {"region": "west"}
