"""What a supervised server is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from millstream.bus import (
    ClusterSettings,
    LeafListener,
    LeafRemote,
    LeafUser,
    MqttUser,
    ServerSettings,
    ServerTls,
    shared_secret,
)
from millstream.bus._cluster_config import is_alone, is_own, render_cluster
from millstream.bus._server_config import LEAF_DENIED, ServerSecrets, reconnect_interval_s, render_config
from millstream.bus._server_log import explain_start
from millstream.kernel import ConfigError
from millstream.sdk import TlsFiles

_SECRETS = ServerSecrets(plant="p", system="s", mqtt_setup="m")
_HUB = ServerSettings(
    "h1", domain="hub", port=1, monitor_port=2,
    leaf_listener=LeafListener(port=3, users=(LeafUser("e1", "x", "uns.v1.acme.p1"),)),
)  # fmt: skip
_EDGE = ServerSettings("e1", port=1, monitor_port=2, leaf_remote=LeafRemote("nats://hub:7422", "e1", "a/b:c@d"))


def _rendered(settings: ServerSettings, *, is_mqtt_open: bool = True) -> dict[str, object]:
    text = render_config(settings, _SECRETS, store_dir="/d/js", log_file="/d/log", is_mqtt_open=is_mqtt_open)
    return json.loads(text)  # type: ignore[no-any-return]


def test_every_server_syncs_always_in_its_own_domain() -> None:
    assert _rendered(_HUB)["jetstream"] == {
        "store_dir": "/d/js", "domain": "hub", "sync_interval": "always", "max_mem": 256_000_000,
    }  # fmt: skip


def test_a_hub_does_not_advertise_and_keeps_edges_apart() -> None:
    leafnodes = _rendered(_HUB)["leafnodes"]
    assert leafnodes == {
        "host": "127.0.0.1", "port": 3, "no_advertise": True, "isolate_leafnode_interest": True,
        "compression": "accept", "authorization": {"timeout": 15},
    }  # fmt: skip


def test_a_leaf_user_gets_its_own_domain_and_nothing_of_other_sites() -> None:
    users = _rendered(_HUB)["accounts"]["PLANT"]["users"]  # type: ignore[index]
    leaf = next(u for u in users if u["user"] == "e1")
    assert leaf["allowed_connection_types"] == ["LEAFNODE"]
    assert "$JS.e1.API.>" in leaf["permissions"]["subscribe"]["allow"]
    assert "$JS.FC.>" in leaf["permissions"]["publish"]["allow"]  # without it sourcing stalls after 2 MB
    assert "$JS.hub.API.DIRECT.GET.*.uns.v1.acme.p1._ledger.e1.>" in leaf["permissions"]["publish"]["allow"]
    assert not [s for s in leaf["permissions"]["publish"]["allow"] if s.startswith(("uns.", ">"))]


def test_each_listener_of_a_server_with_tls_has_it_and_the_monitor_stays_at_home() -> None:
    files = TlsFiles(ca_file=Path("/d/ca.pem"), certificate=Path("/d/server.pem"))
    cluster = ClusterSettings("h1", "a", {"a": "h-a:6222", "b": "h-b:6222", "c": "h-c:6222"}, "s")
    tls = ServerTls(files, asks=("leaf",))
    found = _rendered(replace(_HUB, tls=tls, mqtt_port=4, websocket_port=5, cluster=cluster))
    pair = {"cert_file": "/d/server.pem", "key_file": "/d/server.pem", "ca_file": "/d/ca.pem", "timeout": 10}
    assert found["tls"] == pair
    for listener in ("mqtt", "websocket", "cluster"):
        assert found[listener]["tls"] == pair  # type: ignore[index]
    assert found["leafnodes"]["tls"] == {**pair, "verify": True}  # type: ignore[index]
    assert "no_tls" not in found["websocket"]  # type: ignore[operator]
    assert found["http"] == "127.0.0.1:2"


def test_an_edge_cannot_forge_the_live_copies_of_another_site() -> None:
    listener = LeafListener(users=(LeafUser("a", "x", "uns.v1.acme.a"), LeafUser("b", "y", "uns.v1.acme.b")))
    users = _rendered(replace(_HUB, leaf_listener=listener))["accounts"]["PLANT"]["users"]  # type: ignore[index]
    leaf = next(u for u in users if u["user"] == "a")
    live = [subject for subject in leaf["permissions"]["publish"]["allow"] if subject.startswith("live")]
    assert live == ["live.uns.v1.acme.a.>"]
    assert not [s for s in leaf["permissions"]["subscribe"]["allow"] if s.startswith("live.")]


def test_a_leaf_remote_ignores_advertised_addresses_and_denies_plain_subjects() -> None:
    remote = _rendered(_EDGE)["leafnodes"]["remotes"][0]  # type: ignore[index]
    assert remote["ignore_discovered_servers"] is True
    assert remote["deny_imports"] == remote["deny_exports"] == list(LEAF_DENIED)
    assert remote["urls"] == ["nats://e1:a%2Fb%3Ac%40d@hub:7422"]


def test_the_uplink_is_compressed_in_one_mode_that_a_busy_machine_does_not_change() -> None:
    assert _rendered(_EDGE)["leafnodes"]["remotes"][0]["compression"] == "s2_fast"  # type: ignore[index]


def test_sites_dial_again_at_their_own_pace() -> None:
    paces = {reconnect_interval_s(f"plant{i}") for i in range(50)}
    assert len(paces) > 45
    assert all(0.5 <= pace <= 1.5 for pace in paces)


def test_an_edge_dials_another_box_of_its_hub_after_who_leads_has_connected_its_sources() -> None:
    assert _EDGE.leaf_remote is not None

    def pace_ms(*more_urls: str) -> int:
        settings = replace(_EDGE, leaf_remote=replace(_EDGE.leaf_remote, more_urls=more_urls))
        return int(_rendered(settings)["leafnodes"]["reconnect"].removesuffix("ms"))  # type: ignore[index]

    assert pace_ms("nats://b:7422") >= 1500
    assert pace_ms("nats://b:7422") - pace_ms() == 1000


def test_what_is_kept_for_devices_is_on_as_many_boxes_as_all_else() -> None:
    cluster = ClusterSettings("e1", "a", {"a": "h-a:6222", "b": "h-b:6222", "c": "h-c:6222"}, "s")
    assert _rendered(replace(_EDGE, mqtt_port=4, cluster=cluster))["mqtt"]["stream_replicas"] == 3  # type: ignore[index]
    assert "stream_replicas" not in _rendered(replace(_EDGE, mqtt_port=4))["mqtt"]  # type: ignore[operator]


def test_devices_are_admitted_only_once_their_stream_is_connected() -> None:
    settings = replace(_EDGE, mqtt_port=5, mqtt_users=(MqttUser("mqtt", "z"),))
    names = [
        [u["user"] for u in _rendered(settings, is_mqtt_open=is_open)["accounts"]["PLANT"]["users"]]  # type: ignore[index]
        for is_open in (False, True)
    ]
    assert names == [["millstream", "millstream-setup"], ["millstream", "mqtt", "millstream-setup"]]


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="millstream"):
        _rendered(replace(_HUB, leaf_listener=LeafListener(port=3, users=(LeafUser("millstream", "x"),))))


def test_an_uplink_that_is_no_address_is_refused() -> None:
    with pytest.raises(ConfigError, match="7422"):
        _rendered(replace(_EDGE, leaf_remote=LeafRemote("hub.example", "e1", "x")))


def test_secrets_do_not_show() -> None:
    assert "p" not in repr(_SECRETS).removeprefix("ServerSecrets")
    assert "a/b:c@d" not in repr(_EDGE)
    assert "'x'" not in repr(_HUB)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('[9] d t [FTL] Error listening on port: 127.0.0.1:4222, "bind: address already in use"', "MS-0601"),
        ("[9] d t [FTL] Error listening on leafnode port: 80 - listen tcp: bind: permission denied", "MS-0601"),
        ("[9] d t [FTL] Can't start JetStream: could not create storage directory - mkdir: not a directory", "MS-0602"),
        ("nats-server: Parse error on line 8: 'Expected a map'", "MS-0600"),
        ("[9] d t [FTL] something new", "MS-0600"),
    ],
)
def test_the_last_words_of_a_server_become_one_clear_error(line: str, code: str) -> None:
    error = explain_start(["[9] d t [INF] Starting", line], where="e1", log_path=Path("/d/log"))
    assert error.code == code
    assert error.next_step
    assert "[FTL]" not in str(error)


_CLUSTER = ClusterSettings(
    "h1", "a", {"a": "10.0.0.1:6222", "b": "10.0.0.2:6222", "c": "[fd00::3]:6222"}, "shared", host="10.0.0.1"
)


def test_a_member_of_a_cluster_has_a_name_of_its_own_and_routes_to_the_others_only() -> None:
    config = _rendered(replace(_HUB, cluster=_CLUSTER))
    assert config["server_name"] == "h1-a"
    assert config["jetstream"]["domain"] == "hub"  # type: ignore[index]
    cluster = config["cluster"]
    assert isinstance(cluster, dict)
    assert (cluster["name"], cluster["host"], cluster["port"]) == ("h1", "10.0.0.1", 6222)
    assert [route.rpartition("@")[2] for route in cluster["routes"]] == ["10.0.0.2:6222", "[fd00::3]:6222"]
    assert cluster["no_advertise"]  # each member's passwords are its own


def test_members_agree_on_passwords_that_do_not_show_their_secret() -> None:
    a, b = (render_cluster(replace(_CLUSTER, member=member)) for member in ("a", "b"))
    assert a["authorization"] == b["authorization"]
    assert "shared" not in json.dumps([a, b])
    assert "shared" not in repr(_CLUSTER)
    assert shared_secret("shared", "edge e1") != shared_secret("shared", "edge e2")


def test_an_edge_of_a_cluster_knows_all_its_members() -> None:
    remote = LeafRemote("nats://a:7422", "e1", "x", more_urls=("nats://b:7422", "nats://c"))
    urls = _rendered(replace(_EDGE, leaf_remote=remote))["leafnodes"]["remotes"][0]["urls"]  # type: ignore[index]
    assert urls == ["nats://e1:x@a:7422", "nats://e1:x@b:7422", "nats://e1:x@c:7422"]


@pytest.mark.parametrize(
    ("problem", "alone", "own"),
    [
        ("JetStream has not established contact with a meta leader", True, False),
        ("JetStream is not current with the meta leader", True, False),
        ("JetStream stream 'PLANT > X' is not current: no quorum", True, False),
        ("JetStream stream 'PLANT > X' is not current: group node unhealthy", False, False),
        ("JetStream stream 'PLANT > X' is not current: write error: no space left on device", False, True),
    ],
)
def test_a_member_is_restarted_for_its_own_faults_only(problem: str, alone: bool, own: bool) -> None:
    assert (is_alone(problem), is_own(problem)) == (alone, own)
