"""What the file of a hub of several boxes may say beside its tenants."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from millstream.config import HubConfig

HUB: dict[str, Any] = {
    "hub": {"name": "h1", "data_dir": "data"},
    "trust": {"file": "hub.trust"},
    "cluster": {
        "member": "a", "members": {name: f"10.0.0.{i}:6222" for i, name in enumerate("abc")},
        "secret": {"file": "cluster.secret"},
    },
}  # fmt: skip


def test_three_boxes_serve_tenants_and_let_people_log_in() -> None:
    config = HubConfig.model_validate({**HUB, "api": {}})
    assert config.trust is not None
    assert config.api is not None
    assert config.cluster is not None


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"server": {"mqtt_port": 0}}, "'server.mqtt_port' does not work with 'cluster' yet"),
    ],
)
def test_what_does_not_work_there_yet_is_said(more: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        HubConfig.model_validate({**HUB, **more})
