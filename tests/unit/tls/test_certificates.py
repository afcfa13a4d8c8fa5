"""Certificates: what an authority makes, and what is said of files that do not fit."""

from __future__ import annotations

import json
import os
import ssl
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from millstream.cli import main
from millstream.kernel import ConfigError, NotFoundError, SystemClock
from millstream.sdk import TlsFiles
from millstream.tls import (
    Authority,
    KeptFiles,
    begin_roll_over,
    check_files,
    covers,
    end_roll_over,
    issue,
    make_authority,
    read_facts,
    renew,
)

NOW_S = 1_800_000_000.0
DAY_S = 86_400


class FixedClock(SystemClock):
    """A wall clock that stands."""

    def now_ns(self) -> int:
        return int(NOW_S * 1e9)


def files_of(folder: Path, name: str) -> TlsFiles:
    """As a node has them."""
    certificate, key = Authority(folder).files(name)
    return TlsFiles(ca_file=folder / "ca.pem", certificate=certificate, key=key)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An authority with one node."""
    made = tmp_path / "tls"
    make_authority(made, "test", NOW_S)
    issue(made, "hub", ["hub.example", "*.plant.example", "10.0.0.5"], NOW_S)
    return made


def test_keys_are_their_owners_and_the_rest_is_for_all(folder: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"ca.pem": 0o644, "ca.key": 0o600, "hub.pem": 0o644, "hub.key": 0o600}


def test_a_certificate_is_for_its_names_and_the_nodes_own_machine(folder: Path) -> None:
    names = read_facts(folder / "hub.pem")[0].names
    for good in ("hub.example", "HUB.example.", "e1.plant.example", "10.0.0.5", "localhost", "127.0.0.1", "[::1]"):
        assert covers(names, good), good
    for bad in ("other.example", "a.b.plant.example", "plant.example", "10.0.0.6", ""):
        assert not covers(names, bad), bad
    assert check_files(files_of(folder, "hub"), ["hub.example"], NOW_S) == []


def _expire(folder: Path) -> None:
    renew(folder, "hub", NOW_S - 10 * DAY_S, days=5)


def _shorten(folder: Path) -> None:
    renew(folder, "hub", NOW_S - 5 * DAY_S, days=6)


def _start_later(folder: Path) -> None:
    renew(folder, "hub", NOW_S + 2 * DAY_S)


def _swap_key(folder: Path) -> None:
    issue(folder, "other", [], NOW_S)
    (folder / "hub.key").write_bytes((folder / "other.key").read_bytes())


def _open_key(folder: Path) -> None:
    (folder / "hub.key").chmod(0o644)


def _swap_authority(folder: Path) -> None:
    make_authority(folder / "b", "test", NOW_S)
    (folder / "ca.pem").write_bytes((folder / "b" / "ca.pem").read_bytes())


def _age_authority(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    make_authority(folder, "test", NOW_S - 90 * DAY_S, days=100)
    issue(folder, "hub", ["hub.example"], NOW_S, days=365)  # no longer than its authority


def _no_key(folder: Path) -> None:
    (folder / "hub.key").unlink()


def _no_pem(folder: Path) -> None:
    (folder / "hub.pem").write_text("certificate", encoding="ascii")


def _half(folder: Path) -> None:
    (folder / "hub.pem").write_bytes((folder / "hub.pem").read_bytes()[:300])


def _rename(folder: Path) -> None:
    (folder / "hub.pem").unlink()
    issue(folder, "hub", ["old.example"], NOW_S)


FAULTS: dict[str, tuple[Callable[[Path], None], str, bool]] = {
    "expired": (_expire, "MS-2502", False),
    "not valid yet": (_start_later, "MS-2502", False),
    "ends soon": (_shorten, "MS-2503", False),
    "for another name": (_rename, "MS-2504", False),
    "the key of another": (_swap_key, "MS-2501", True),
    "of another authority": (_swap_authority, "MS-2505", True),
    "a key that others can read": (_open_key, "MS-2506", False),
    "no key": (_no_key, "MS-2500", True),
    "no certificate in it": (_no_pem, "MS-2500", True),
    "half a certificate": (_half, "MS-2500", True),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_has_its_code_and_a_next_step(folder: Path, name: str) -> None:
    spoil, code, is_fatal = FAULTS[name]
    spoil(folder)
    [fault] = check_files(files_of(folder, "hub"), ["hub.example"], NOW_S)
    assert (fault.code, fault.is_fatal) == (code, is_fatal)
    assert str(folder) in fault.message
    assert fault.next_step


def test_check_tells_each_fault_with_its_place(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = folder.parent / "hub.yaml"
    config.write_text(
        "hub: {name: h1, data_dir: data}\nserver: {host: hub.example}\ntls:\n  certificate: tls/hub.pem\n"
        "  key: tls/hub.key\n  ca_file: tls/ca.pem\n  names: [hub.example, elsewhere.example]\n",
        encoding="utf-8",
    )
    (folder / "hub.key").chmod(0o640)
    assert main(["check", "--json", str(config)]) == 6
    found = {f["code"]: (f["line"], f["path"]) for f in json.loads(capsys.readouterr().out)["findings"]}
    assert found.pop("MS-2504") == (4, "tls.certificate")
    assert found.pop("MS-2506") == (5, "tls.key")
    assert found.keys() <= {"MS-2502", "MS-2503"}  # the real clock is another


def test_an_authority_rolls_over_and_the_bundle_has_both_until_all_are_renewed(folder: Path) -> None:
    old = read_facts(folder / "ca.pem")[0]
    before = files_of(folder, "hub")
    begin_roll_over(folder, NOW_S)
    assert [facts.fingerprint for facts in read_facts(folder / "ca.pem")][1:] == [old.fingerprint]
    assert check_files(before, [], NOW_S) == []  # what the old one signed is good still
    with pytest.raises(ConfigError, match="under way"):
        begin_roll_over(folder, NOW_S)
    with pytest.raises(ConfigError, match="of the old authority"):
        end_roll_over(folder)
    renew(folder, "hub", NOW_S)
    assert [facts.fingerprint for facts in end_roll_over(folder)] == [old.fingerprint]
    assert check_files(before, ["hub.example"], NOW_S) == []
    context = ssl.create_default_context(cafile=folder / "ca.pem")  # OpenSSL takes what we made
    context.load_cert_chain(folder / "hub.pem", folder / "hub.key")


def test_a_roll_over_that_was_broken_off_is_said_and_run_again(folder: Path) -> None:
    before = (folder / "ca.pem").read_bytes()
    begin_roll_over(folder, NOW_S)
    (folder / "ca.pem").write_bytes(before)  # as if it had been killed between its two files
    with pytest.raises(ConfigError, match="not that of its certificate"):
        renew(folder, "hub", NOW_S)
    begin_roll_over(folder, NOW_S)
    renew(folder, "hub", NOW_S)
    assert check_files(files_of(folder, "hub"), ["hub.example"], NOW_S) == []


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["init"], 1),
        (["issue", "hub"], 1),
        (["issue", "../hub"], 1),
        (["issue", "ca"], 1),
        (["issue", "x", "--name", "a b"], 1),
        (["renew", "nobody"], 3),
        (["rollover", "--finish"], 1),
        (["issue", "x", "--days", "0"], 1),
    ],
)
def test_the_command_refuses_with_a_reason(
    folder: Path, words: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.parent.rglob("*"))
    assert main(["tls", *words, "--folder", str(folder), "--json"]) == status
    said = json.loads(capsys.readouterr().err)
    assert said["error"]["code"] == "MS-2510"
    assert sorted(folder.parent.rglob("*")) == before


def test_show_tells_what_ends_and_when(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _shorten(folder)
    status = main(["tls", "show", str(folder / "hub.pem"), "--json"])
    said = json.loads(capsys.readouterr().out)
    facts = read_facts(folder / "hub.pem")[0]
    assert said["certificates"][0]["not_after_s"] == facts.not_after_s
    assert (status, said["ok"]) == (6, False)


def test_half_of_a_replacement_is_never_used(folder: Path, tmp_path: Path) -> None:
    kept = KeptFiles(files_of(folder, "hub"), tmp_path / "kept", FixedClock())
    kept.open()
    first = kept.facts().fingerprint
    assert not kept.look()
    old_key = (folder / "hub.key").read_bytes()
    renew(folder, "hub", NOW_S)
    new_key = (folder / "hub.key").read_bytes()
    (folder / "hub.key").write_bytes(old_key)  # the certificate is new, the key not yet
    assert not kept.look()
    assert kept.facts().fingerprint == first
    assert [fault.code for fault in kept.faults()] == []  # it may be between two writes
    assert not kept.look()
    assert [fault.code for fault in kept.faults()] == ["MS-2508"]
    (folder / "hub.key").write_bytes(new_key)
    os.utime(folder / "hub.key", (1, 1))
    assert kept.look()
    assert kept.facts().fingerprint != first
    assert kept.faults() == []
    context = ssl.create_default_context(cafile=kept.in_use.ca_file)
    context.load_cert_chain(str(kept.in_use.certificate))  # certificate and key in one file, of one making


def test_a_replacement_between_the_look_and_the_copy_is_not_used(folder: Path, tmp_path: Path) -> None:
    issue(folder, "other", [], NOW_S)

    class Interrupted(KeptFiles):
        """Somebody writes at the worst moment."""

        def _take(self) -> bool:
            (folder / "hub.key").write_bytes((folder / "other.key").read_bytes())
            return super()._take()

    kept = KeptFiles(files_of(folder, "hub"), tmp_path / "kept", FixedClock())
    kept.open()
    first = kept.facts().fingerprint
    renew(folder, "hub", NOW_S)
    again = Interrupted(files_of(folder, "hub"), tmp_path / "kept", FixedClock())
    again.open()
    assert again.facts().fingerprint == first
    assert [fault.code for fault in again.faults()] == ["MS-2508"]
    assert [fault for fault in check_files(again.in_use, [], NOW_S) if fault.is_fatal] == []


def test_a_node_starts_with_what_it_had_when_the_new_files_do_not_fit(folder: Path, tmp_path: Path) -> None:
    KeptFiles(files_of(folder, "hub"), tmp_path / "kept", FixedClock()).open()
    (folder / "hub.pem").write_text("nothing", encoding="ascii")
    again = KeptFiles(files_of(folder, "hub"), tmp_path / "kept", FixedClock())
    again.open()
    assert [fault.code for fault in again.faults()] == ["MS-2508"]
    with pytest.raises(ConfigError, match="no certificate in PEM"):
        KeptFiles(files_of(folder, "hub"), tmp_path / "new", FixedClock()).open()


def test_a_missing_authority_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no authority here"):
        issue(tmp_path, "hub", [], NOW_S)


def test_an_authority_that_ends_is_told_before_its_certificates_all_end_with_it(folder: Path) -> None:
    _age_authority(folder)
    found = {(fault.code, fault.key) for fault in check_files(files_of(folder, "hub"), [], NOW_S)}
    assert found == {("MS-2503", "ca_file")}
    later = {(fault.code, fault.key) for fault in check_files(files_of(folder, "hub"), [], NOW_S + 20 * DAY_S)}
    assert later == {("MS-2502", "ca_file"), ("MS-2502", "certificate")}
