"""Which node is meant when nobody names one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from millstream.client import find_node
from millstream.kernel import NotFoundError

GONE_PID = 2**22 + 1  # above the kernel's bound


def node(folder: Path, role: str, pid: int = os.getpid()) -> None:
    folder.mkdir(parents=True)
    content = {"role": role, "name": folder.name, "nats_url": "nats://127.0.0.1:4222", "pid": pid}
    (folder / "node.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("folder", [".millstream", "data", "hub", "data/hub"])
def test_a_single_node_is_found_where_nodes_keep_their_data(here: Path, folder: str) -> None:
    node(here / folder, "hub")
    assert find_node(environ={}).name == Path(folder).name


def test_of_an_edge_and_its_hub_the_hub_answers_since_it_sees_all(here: Path) -> None:
    node(here / "data/edge", "edge")
    node(here / "data/hub", "hub")
    assert find_node(environ={}).name == "hub"


def test_a_running_edge_is_better_than_what_a_hub_left_over(here: Path) -> None:
    node(here / "data/edge", "edge")
    node(here / "data/hub", "hub", GONE_PID)
    assert find_node(environ={}).name == "edge"


def test_two_of_a_kind_are_named_and_none_is_guessed(here: Path) -> None:
    node(here / "one", "hub")
    node(here / "two", "hub")
    with pytest.raises(NotFoundError) as told:
        find_node(environ={})
    assert told.value.got == "one, two"


def test_no_node_near_here_says_where_to_go(here: Path) -> None:
    with pytest.raises(NotFoundError) as told:
        find_node(environ={})
    assert "folder of its configuration" in str(told.value.next_step)
