"""What a person writes, and what it is answered with."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from millstream.connectors.opcua import OpcUaConfig, OpcUaConnector
from millstream.kernel import ConfigError
from millstream.sdk import ConnectorTools, Tag

PLAIN = {"endpoint": "opc.tcp://plc:4840", "security": {"policy": "none"}}


def test_security_has_to_be_written() -> None:
    with pytest.raises(ValidationError, match="security"):
        OpcUaConfig.model_validate({"endpoint": "opc.tcp://plc:4840"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"endpoint": "http://plc"}, 'expected "opc.tcp://host:port"'),
        ({"endpoint": "opc.tcp://plc"}, 'expected "opc.tcp://host:port"'),
        ({"endpoint": "opc.tcp://plc:99999"}, "not an endpoint"),
        ({"endpoint": "opc.tcp://bob:pw@plc:4840"}, "no credentials in the endpoint"),
        ({"endpoints": ["http://plc"]}, 'expected "opc.tcp://host:port"'),
        ({"endpoints": ["opc.tcp://plc:4840"]}, "name one server twice"),
        (
            {"endpoints": ["opc.tcp://b:4840"], "security": {"policy": "none", "server_certificate": "a.der"}},
            "trust several with the folder 'pki'",
        ),
        ({"security": {}}, "needs 'certificate' and 'private_key'"),
        ({"security": {"policy": "basic256"}}, "basic256sha256"),
        ({"security": {"certificate": "a.der"}}, "belong together"),
        ({"security": {"pki": "pki", "server_certificate": "b.der"}}, "put it into its folder trusted/"),
        ({"user_certificate": "a.der"}, "belong together"),
        (
            {"user": "bob", "password": {"env": "X"}, "user_certificate": "a.der", "user_private_key": "a.pem"},
            "a session has one user",
        ),
        ({"channel_lifetime": "10ms"}, "channel_lifetime"),
        ({"user": "bob"}, "belong together"),
        ({"password": {"env": "X"}}, "belong together"),
        ({"user": "bob", "password": "in-clear"}, "not written into the configuration"),
        ({"check_interval": 5}, "a duration needs a unit"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_configuration_is_refused_with_words(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        OpcUaConfig.model_validate({**PLAIN, **change})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("address", "options"),
    [
        ("Temperature", {}),
        ("ns=70000;i=1", {}),
        ("i=4294967296", {}),
        ("s=", {}),
        ("nsu=urn:x", {}),
        ("g=1234", {}),
        ("b=!", {}),
        ("ns=1;x=2", {}),
        ("i=1", {"deadband_absolute": 1, "deadband_percent": 1}),
        ("i=1", {"deadband_absolute": -1}),
        ("i=1", {"queue": 3}),
        ("i=1", {"severity_min": 100}),
        ("i=1", {"method_object": "i=2"}),
        ("i=1", {"mode": "method", "method_object": "boiler"}),
        ("i=1", {"mode": "events", "event_type": "Alarm"}),
        ("i=1", {"mode": "events", "severity_min": 1001}),
    ],
)
def test_a_tag_that_cannot_be_right_is_refused_offline(address: str, options: dict[str, Any]) -> None:
    connector = OpcUaConnector(OpcUaConfig.model_validate(PLAIN), ConnectorTools())
    with pytest.raises(ConfigError):
        connector.check_tag(Tag("t", address, options=options))


def test_a_tag_that_may_be_right_passes() -> None:
    connector = OpcUaConnector(OpcUaConfig.model_validate(PLAIN), ConnectorTools())
    for address in (
        "i=85",
        "ns=2;s=a;b=c",
        "nsu=urn:a%3Bb;s=x",
        "ns=3;g=12345678-1234-5678-1234-567812345678",
        "b=AAE=",
    ):
        connector.check_tag(Tag("t", address, options={"queue_size": 1, "deadband_percent": 2.5}))
