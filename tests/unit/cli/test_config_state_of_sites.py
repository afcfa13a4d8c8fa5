"""What `millstream config status` says of one site."""

from __future__ import annotations

from typing import Any

import pytest

from millstream.client import SiteRevision, site_state
from millstream.protocols.site_config import make_revision

TEXT = "connectors: []\n"
NEWEST = SiteRevision(
    make_revision("e1", TEXT, revision=3, based_on=2, author="ada", comment="", time_ns=1), TEXT, 9
)  # fmt: skip


def report(**more: Any) -> dict[str, Any]:
    return {
        "revision": 3, "digest": NEWEST.revision.digest, "phase": "settled", "seen": 3, "failure": None,
        "accepts": True, "is_file_edited": False, **more,
    }  # fmt: skip


def failed(revision: int, *, is_rolled_back: bool) -> dict[str, Any]:
    return {"revision": revision, "code": "MS-2408", "reason": "press is waiting", "is_rolled_back": is_rolled_back}


@pytest.mark.parametrize(
    ("newest", "said", "state"),
    [
        (NEWEST, report(), "healthy"),
        (NEWEST, None, "away"),
        (NEWEST, report(phase="watching"), "trying"),
        (NEWEST, report(revision=2, seen=2), "waiting"),
        (NEWEST, report(revision=2, failure=failed(3, is_rolled_back=True)), "rolled back"),
        (NEWEST, report(revision=2, failure=failed(3, is_rolled_back=False)), "refused"),
        (NEWEST, report(failure=failed(2, is_rolled_back=True)), "healthy"),
        (NEWEST, report(revision=5, seen=5), "drifted"),
        (NEWEST, report(digest="sha256:other"), "drifted"),
        (NEWEST, report(is_file_edited=True), "drifted"),
        (NEWEST, report(revision=0, seen=0, accepts=False), "declined"),
        (None, report(revision=0, digest="", seen=0), "own file"),
        (None, report(revision=0, digest="", seen=0, accepts=False), "own file"),
        (None, None, "away"),
    ],
)
def test_each_state_has_its_word(newest: SiteRevision | None, said: dict[str, Any] | None, state: str) -> None:
    assert site_state("e1", newest, said)["state"] == state
