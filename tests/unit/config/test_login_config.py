"""The log-in of a hub's file: what cannot be safe is refused before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from millstream.config import HubConfig, load_hub
from millstream.flow.library import FLOW_TYPES

RULE = {"claim": "groups", "value": "x", "tenant": "acme", "role": "viewer"}
OIDC = {"name": "corp", "issuer": "https://idp.example", "client_id": "hub", "rules": [RULE]}


def hub(**more: Any) -> HubConfig:
    """A hub with tenants and an API."""
    raw = {"hub": {"name": "h1", "data_dir": "hub"}, "trust": {"file": "hub.trust"}, "api": {}, **more}
    return HubConfig.model_validate(raw)


def test_log_in_without_tls_is_on_loopback_only() -> None:
    for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3"):
        assert hub(api={"host": host}).api is not None
    for host in ("0.0.0.0", "::", "10.0.0.1", "plant.example"):
        with pytest.raises(ValidationError, match="without TLS"):
            hub(api={"host": host})


@pytest.mark.parametrize(
    ("login", "reason"),
    [
        ({"credentials": "2h"}, "less than or equal"),
        ({"session": "1s"}, "greater than or equal"),
        ({"public_url": "ftp://x"}, "not the address of pages"),
        ({"public_url": "https://u:p@x"}, "not the address of pages"),
        ({"oidc": [OIDC, OIDC]}, "two providers"),
        ({"oidc": [{**OIDC, "issuer": "http://idp.example"}]}, "without TLS"),
        ({"oidc": [{**OIDC, "rules": []}]}, "at least 1"),
        ({"oidc": [{**OIDC, "rules": [{**RULE, "role": "edge"}]}]}, "viewer"),
        ({"oidc": [{**OIDC, "secret": "in clear"}]}, "refer to it"),
    ],
)
def test_what_cannot_be_safe_is_refused(login: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        hub(login=login)


def test_a_provider_of_this_machine_needs_no_tls() -> None:
    assert hub(login={"oidc": [{**OIDC, "issuer": "http://127.0.0.1:9000"}]}).login.oidc[0].user_claim


def test_flows_of_a_hub_with_tenants_belong_to_one(tmp_path: Path) -> None:
    flow = {"name": "ok", "type": "deadband", "inputs": ["acme/**:x"], "config": {"width": 1}}
    found = hub(tenants={"acme": {"flows": [flow]}, "beta": {"flows": [flow]}}, server={"mqtt_port": 0})
    assert [each.name for each in found.tenants["acme"].flows] == ["ok"]
    with pytest.raises(ValidationError, match=r"belong to a tenant: write them as tenants.<name>.flows"):
        hub(flows=[flow])
    with pytest.raises(ValidationError, match="'tenants' needs 'trust'"):
        hub(trust=None, tenants={"acme": {}})


def test_flows_of_tenants_are_checked_as_all_others_each_tenant_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "hub.yaml"
    path.write_text(
        """
hub: {name: h1, data_dir: hub}
trust: {file: hub.trust}
tenants:
  acme:
    flows:
      - {name: a, type: deadband, inputs: ["acme/**:x"], config: {width: 1}}
      - {name: a, type: deadbnd, inputs: ["acme/**:y"], config: {width: 1}}
  beta:
    flows: [{name: a, type: deadband, inputs: ["beta/**:x"], config: {wdth: 1}}]
""",
        encoding="utf-8",
    )
    config, findings = load_hub(path, FLOW_TYPES)
    assert config is None
    told = " ".join(str(finding) for finding in findings)
    for text in ("tenants.acme.flows[0]", "unknown type of flow 'deadbnd'", "tenants.beta.flows[0].config"):
        assert text in told, told
    assert told.count("stands twice") == 1
