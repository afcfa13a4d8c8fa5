"""Application certificates as OPC UA wants them (OPC 10000-6, 6.2.2)."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

URI = "urn:millstream:test:client"


DAY = datetime.timedelta(days=1)


class Authority:
    """Signs certificates and lists those that it has revoked."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plant authority")])
        now = datetime.datetime.now(datetime.UTC)
        builder = _builder(self.name, self.name, self.key.public_key(), (now - DAY, now + DAY))
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self.der = _der(builder.add_extension(constraints, critical=True).sign(self.key, hashes.SHA256()))

    def revoke(self, certificate: bytes) -> bytes:
        """A revocation list with this certificate in it."""
        now = datetime.datetime.now(datetime.UTC)
        serial = x509.load_der_x509_certificate(certificate).serial_number
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - DAY).build()
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name).add_revoked_certificate(entry)
        signed = builder.last_update(now - DAY).next_update(now + DAY).sign(self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.DER)


def make_certificate(
    folder: Path, name: str, uri: str = URI, *, authority: Authority | None = None, is_expired: bool = False
) -> tuple[Path, Path]:
    """An application certificate with what OPC 10000-6, 6.2.2 asks for, self-signed without an authority; its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names: Sequence[x509.GeneralName] = (
        x509.UniformResourceIdentifier(uri), x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    )  # fmt: skip
    usage = x509.KeyUsage(True, True, True, True, False, True, False, False, False)
    span = (now - 30 * DAY, now - DAY if is_expired else now + 30 * DAY)
    certificate = (
        _builder(subject, authority.name if authority else subject, key.public_key(), span)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(authority.key if authority else key, hashes.SHA256())
    )
    certificate_file, key_file = folder / f"{name}.der", folder / f"{name}.pem"
    certificate_file.write_bytes(_der(certificate))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


def _builder(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPublicKey, span: tuple[datetime.datetime, datetime.datetime]
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(span[0]).not_valid_after(span[1])


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def secured(certificate: Path, key: Path, policy: str = "basic256sha256", **more: str) -> dict[str, str]:
    """The security section."""
    return {"policy": policy, "certificate": str(certificate), "private_key": str(key), **more}
