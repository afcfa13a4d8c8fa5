"""What is wrong with a server's certificate: each fault has its own code, and none of them passes."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from millstream.connectors.opcua._trust import (
    REJECTED_MAX,
    Expected,
    TrustList,
    certificates_in,
    make_own,
    subject_names,
)
from millstream.kernel import AuthError, PlantError

NOW = datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
EXPECTED = Expected("opc.tcp://press:4840", "press", "urn:press", NOW)


class Holder:
    """A name, a key, and a certificate that `issuer` (or itself) signed."""

    def __init__(
        self, name: str, issuer: Holder | None = None, *, is_authority: bool = False, path_length: int | None = None,
        begins: datetime.datetime = NOW - DAY, ends: datetime.datetime = NOW + DAY, uri: str = "urn:press",
    ) -> None:  # fmt: skip
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = issuer or self
        address = x509.IPAddress(ipaddress.ip_address("10.0.0.7"))
        names = [x509.UniformResourceIdentifier(uri), x509.DNSName("press"), address]
        builder = x509.CertificateBuilder().subject_name(self.name).issuer_name(signer.name)
        builder = builder.public_key(self.key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(begins).not_valid_after(ends)
        builder = builder.add_extension(x509.BasicConstraints(is_authority, path_length), critical=True)
        if not is_authority:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        self.certificate = builder.sign(signer.key, hashes.SHA256())
        self.der = self.certificate.public_bytes(serialization.Encoding.DER)

    def revoke(self, holders: Sequence[Holder], until: datetime.datetime = NOW + DAY) -> bytes:
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name)
        builder = builder.last_update(NOW - DAY).next_update(until)
        for holder in holders:
            entry = x509.RevokedCertificateBuilder().serial_number(holder.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(NOW - DAY).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def fault(
    folder: Path, shown: bytes, files: dict[str, bytes], *, expected: Expected = EXPECTED, crl_required: bool = False
) -> PlantError | None:
    """The verdict over `shown` with these files in the folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return TrustList.load(folder, needs_revocation_list=crl_required).fault(shown, expected)


def code_of(error: PlantError | None) -> str | None:
    """Its code."""
    return error.code if error is not None else None


def test_an_unknown_certificate_is_kept_and_trusted_once_it_was_moved(tmp_path: Path) -> None:
    server = Holder("Press 7/../x")
    error = fault(tmp_path, server.der, {})
    assert code_of(error) == "MS-0221"
    (kept,) = (tmp_path / "rejected").iterdir()
    assert kept.name.startswith("Press_7_.._x-")
    assert str(kept) in str(error)
    assert str(tmp_path / "trusted") in str(error)
    assert server.certificate.fingerprint(hashes.SHA1()).hex() in str(error)
    kept.rename(tmp_path / "trusted" / kept.name)
    assert fault(tmp_path, server.der, {}) is None


def test_a_certificate_of_a_trusted_authority_passes_also_over_links_that_the_server_sends(tmp_path: Path) -> None:
    root = Holder("root", is_authority=True)
    link = Holder("link", root, is_authority=True)
    server = Holder("press", link)
    assert fault(tmp_path, server.der + link.der, {"trusted/root.der": root.der}) is None
    assert code_of(fault(tmp_path, server.der, {})) == "MS-0221"  # nobody knows the link
    pem = link.certificate.public_bytes(serialization.Encoding.PEM)
    assert fault(tmp_path, server.der, {"issuers/link.pem": pem}) is None


def test_an_authority_that_is_only_an_issuer_is_not_trusted(tmp_path: Path) -> None:
    root = Holder("root", is_authority=True)
    assert code_of(fault(tmp_path, Holder("press", root).der, {"issuers/root.der": root.der})) == "MS-0221"


def test_who_is_no_authority_signs_for_nobody(tmp_path: Path) -> None:
    trusted_server = Holder("trusted")
    assert (
        code_of(fault(tmp_path, Holder("press", trusted_server).der, {"trusted/a.der": trusted_server.der}))
        == "MS-0221"
    )
    root = Holder("root", is_authority=True, path_length=0)
    link = Holder("link", root, is_authority=True)
    shown = Holder("press", link).der + link.der
    assert code_of(fault(tmp_path, shown, {"trusted/root.der": root.der})) == "MS-0221"


def test_an_authority_of_the_same_name_but_another_key_is_not_the_trusted_one(tmp_path: Path) -> None:
    root, impostor = Holder("root", is_authority=True), Holder("root", is_authority=True)
    shown = Holder("press", impostor).der + impostor.der
    assert code_of(fault(tmp_path, shown, {"trusted/root.der": root.der})) == "MS-0221"


@pytest.mark.parametrize(("begins", "ends"), [(NOW - 2 * DAY, NOW - DAY), (NOW + DAY, NOW + 2 * DAY)])
def test_a_trusted_certificate_out_of_its_time_is_refused(
    tmp_path: Path, begins: datetime.datetime, ends: datetime.datetime
) -> None:
    server = Holder("press", begins=begins, ends=ends)
    assert code_of(fault(tmp_path, server.der, {"trusted/press.der": server.der})) == "MS-0220"
    authority = Holder("root", is_authority=True, begins=begins, ends=ends)
    signed = Holder("press", authority)
    assert code_of(fault(tmp_path, signed.der, {"trusted/root.der": authority.der})) == "MS-0220"


def test_a_revoked_certificate_is_refused_also_when_it_is_trusted_itself(tmp_path: Path) -> None:
    root = Holder("root", is_authority=True)
    good, revoked = Holder("good", root), Holder("revoked", root)
    files = {"trusted/root.der": root.der, "trusted/root.crl": root.revoke([revoked])}
    assert fault(tmp_path, good.der, files) is None
    assert code_of(fault(tmp_path, revoked.der, {})) == "MS-0222"
    assert code_of(fault(tmp_path, revoked.der, {"trusted/revoked.der": revoked.der})) == "MS-0222"


def test_a_revocation_list_that_another_key_signed_says_nothing(tmp_path: Path) -> None:
    root, impostor = Holder("root", is_authority=True), Holder("root", is_authority=True)
    server = Holder("press", root)
    files = {"trusted/root.der": root.der, "trusted/root.crl": impostor.revoke([server])}
    assert fault(tmp_path, server.der, files) is None


def test_a_missing_or_old_revocation_list_is_refused_where_one_is_required(tmp_path: Path) -> None:
    root = Holder("root", is_authority=True)
    server = Holder("press", root)
    files = {"trusted/root.der": root.der}
    assert fault(tmp_path, server.der, files) is None
    assert code_of(fault(tmp_path, server.der, files, crl_required=True)) == "MS-1102"
    old = {"issuers/root.crl": root.revoke([], NOW - DAY / 2)}
    assert code_of(fault(tmp_path, server.der, old, crl_required=True)) == "MS-1102"
    assert fault(tmp_path, server.der, {"issuers/new.crl": root.revoke([])}, crl_required=True) is None


def test_the_application_uri_of_the_server_stands_in_its_certificate(tmp_path: Path) -> None:
    server = Holder("press", uri="urn:lathe")
    error = fault(tmp_path, server.der, {"trusted/press.der": server.der})
    assert code_of(error) == "MS-1101"
    assert "urn:lathe" in str(error)
    assert "urn:press" in str(error)


def test_an_authority_vouches_for_the_host_that_stands_in_the_certificate(tmp_path: Path) -> None:
    root = Holder("root", is_authority=True)
    server = Holder("press", root)
    elsewhere = dataclasses.replace(EXPECTED, host="lathe")
    files = {"trusted/root.der": root.der}
    assert code_of(fault(tmp_path, server.der, files, expected=elsewhere)) == "MS-0223"
    assert fault(tmp_path, server.der, files, expected=dataclasses.replace(EXPECTED, host="10.0.0.7")) is None
    assert fault(tmp_path, server.der, {"trusted/press.der": server.der}, expected=elsewhere) is None


def test_a_server_without_a_certificate_is_refused(tmp_path: Path) -> None:
    assert code_of(fault(tmp_path, b"", {})) == "MS-0221"
    assert code_of(fault(tmp_path, b"\x30\x82\xff\xff" + b"\x00" * 40, {})) == "MS-0221"


@pytest.mark.parametrize("name", ["trusted/a.der", "issuers/a.pem", "issuers/a.crl"])
def test_a_file_that_cannot_be_read_is_named_and_nobody_is_trusted(tmp_path: Path, name: str) -> None:
    with pytest.raises(AuthError, match=name.rsplit("/", 1)[1]):
        fault(tmp_path, Holder("press").der, {name: b"-----BEGIN nonsense"})


def test_rejected_certificates_are_bounded_and_the_oldest_makes_room(tmp_path: Path) -> None:
    fault(tmp_path, b"", {})
    rejected = tmp_path / "rejected"
    for number in range(REJECTED_MAX):
        (rejected / f"{number}.der").write_bytes(b"")
        os.utime(rejected / f"{number}.der", (number, number))
    server = Holder("press")
    for _ in range(2):
        assert code_of(fault(tmp_path, server.der, {})) == "MS-0221"
    assert len(list(rejected.iterdir())) == REJECTED_MAX
    assert not (rejected / "0.der").exists()


def test_our_own_certificate_is_made_once_and_its_key_is_ours_alone(tmp_path: Path) -> None:
    fault(tmp_path, b"", {})
    certificate, key, is_new = make_own(tmp_path, "urn:edge:millstream", "edge", NOW)
    assert is_new
    assert key.stat().st_mode & 0o077 == 0
    (made,) = certificates_in(certificate.read_bytes())
    assert subject_names(made) == (["urn:edge:millstream"], ["edge"])
    assert made.not_valid_before_utc <= NOW - DAY
    before = certificate.read_bytes()
    assert make_own(tmp_path, "urn:other", "edge", NOW) == (certificate, key, False)
    assert certificate.read_bytes() == before
