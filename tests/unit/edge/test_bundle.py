"""Support bundles: nothing secret in them, bounded, and only the newest kept."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from millstream.config import EdgeConfig
from millstream.edge._bundle import KEPT_COUNT, LOG_BYTES_MAX, bundle_path, make_bundle, referred_secrets, scrub
from millstream.kernel import PlantError


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ('{"url": "nats://edge:hunter22@hub:7422"}', "hunter22"),
        ("dial tcp mqtt://u:p%40ss@broker", "p%40ss"),
        ('"password": "hunter22"', "hunter22"),
        ("password=hunter22 user=x", "hunter22"),
        ("mqtt_password: hunter22\nhost: x", "hunter22"),
        ('{"api_key": "abc123", "host": "h"}', "abc123"),
        ("'token': 'abc123'", "abc123"),
        ("Authorization token: abc123", "abc123"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQ\n-----END EC PRIVATE KEY-----", "MHcCAQ"),
        ("seed SU" + "A2" * 28 + " in a log", "SUA2A2"),
        ("jwt eyJ0eXAiOiJKV1QifQ.eyJzdWIiOiJVIn0abc.c2lnbmF0dXJl", "eyJzdWIi"),
    ],
)
def test_what_looks_like_a_secret_is_blacked_out(text: str, secret: str) -> None:
    assert secret not in scrub(text, ())


def test_what_is_no_secret_stays() -> None:
    text = '{"secret": {"file": "/etc/x"}, "host": "10.0.0.1", "tokens": 3, "user": "ada"}'
    assert '"file": "/etc/x"' in scrub(text, ())
    assert '"host": "10.0.0.1"' in scrub(text, ())


def test_known_secrets_are_blacked_out_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "secrets" / "edges").mkdir(parents=True)
    (tmp_path / "secrets" / "edges" / "e9").write_text("pass-of-e9\n", encoding="utf-8")
    (tmp_path / "node.json").write_text(json.dumps({"password": 'quo"ted-one', "name": "e1"}), encoding="utf-8")
    (tmp_path / "plc").write_text("plc-secret\n", encoding="utf-8")
    (tmp_path / "server").mkdir()
    log = tmp_path / "server" / "nats-server.log"
    log.write_text("x" * (LOG_BYTES_MAX + 10) + '\nlogin pass-of-e9 plc-secret quo"ted-one end', encoding="utf-8")
    config = EdgeConfig.model_validate(
        {
            "edge": {"name": "e1", "path": "a/b", "data_dir": tmp_path},
            "uplink": {"url": "nats://hub:1", "secret": {"file": tmp_path / "plc"}},
        }
    )
    known = referred_secrets(config)
    assert known == {"plc-secret"}
    documents = {"status": {"error": "refused plc-secret", "path": "a/b", "said": 'it is quo"ted-one'}}
    made = make_bundle(tmp_path, "c1", documents, known)
    with zipfile.ZipFile(made.path) as file:
        texts = {name: file.read(name).decode() for name in file.namelist()}
    assert set(texts) == {"status.json", "logs/nats-server.log"}
    assert not [s for s in ("pass-of-e9", "plc-secret", "ted-one") for text in texts.values() if s in text]
    assert texts["logs/nats-server.log"].endswith("login *** *** *** end")
    assert len(texts["logs/nats-server.log"]) < LOG_BYTES_MAX
    assert made.path.stat().st_mode & 0o777 == 0o600


def test_only_the_newest_are_kept_and_an_id_leads_nowhere_else(tmp_path: Path) -> None:
    for number in range(KEPT_COUNT + 2):
        make_bundle(tmp_path, f"c{number}", {"status": {}}, ())
    assert len(list((tmp_path / "bundles").iterdir())) == KEPT_COUNT
    assert bundle_path(tmp_path, f"c{KEPT_COUNT + 1}").exists()
    for id in ("../x", "a/b", "", "x" * 65, "a.b"):
        with pytest.raises(PlantError, match="MS-2312"):
            bundle_path(tmp_path, id)


def test_a_disk_that_refuses_leaves_no_half_bundle(tmp_path: Path) -> None:
    (tmp_path / "bundles").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(PlantError, match="MS-2312"):
        make_bundle(tmp_path, "c1", {}, ())
