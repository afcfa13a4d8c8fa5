"""What discovery proposes for a server that it found."""

from __future__ import annotations

import pytest
from asyncua import ua

from millstream.connectors.opcua import OpcUaConfig
from millstream.connectors.opcua._discovery import _described
from millstream.kernel import DecodeError
from millstream.sdk import Place

POLICIES = "http://opcfoundation.org/UA/SecurityPolicy#"


def endpoint(policy: str, url: str = "opc.tcp://only-it-knows:4840/path/") -> ua.EndpointDescription:
    """One of a server's."""
    mode = ua.MessageSecurityMode.None_ if policy == "None" else ua.MessageSecurityMode.SignAndEncrypt
    server = ua.ApplicationDescription(ApplicationUri="urn:press", ApplicationName=ua.LocalizedText("Press\n7"))
    return ua.EndpointDescription(
        EndpointUrl=url, Server=server, SecurityMode=mode, SecurityPolicyUri=POLICIES + policy
    )  # fmt: skip


@pytest.mark.parametrize(
    ("policies", "security"),
    [
        (["None", "Basic256Sha256"], {"policy": "none"}),
        (["Basic256Sha256", "Aes256_Sha256_RsaPss"], {"policy": "aes256_sha256_rsa_pss", "pki": "pki"}),
        (["Basic256"], {"policy": "basic256sha256", "pki": "pki"}),
    ],
)
def test_the_place_that_was_asked_and_what_the_server_offers(policies: list[str], security: dict[str, str]) -> None:
    found = _described(Place("10.0.4.7", 4840), [endpoint(policy) for policy in policies], [])
    assert found.name == "Press 7"
    assert found.config == {"endpoint": "opc.tcp://10.0.4.7:4840/path", "security": security}
    OpcUaConfig.model_validate(found.config)


def test_other_servers_are_named_not_asked() -> None:
    other = ua.ApplicationDescription(ApplicationUri="urn:other")
    found = _described(Place("a", 1), [endpoint("None")], [endpoint("None").Server, other])
    assert found.facts["knows"] == "urn:other"


def test_a_server_without_an_endpoint_is_none() -> None:
    with pytest.raises(DecodeError):
        _described(Place("a", 1), [endpoint("None", "https://a:443")], [])
