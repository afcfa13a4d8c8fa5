"""An authority of our own, and what it signs."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Signed:
    """PEM files, and the serial number."""

    certificate: Path
    key: Path
    serial: int


class Authority:
    """Signs into `folder`. Its own certificate is `ca_file`."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.now = datetime.datetime.now(datetime.UTC)
        builder = self._builder(self._name, self._key.public_key(), (self.now - DAY, self.now + DAY), self._name)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        signed = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file = folder / f"{name}.pem"
        self.ca_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        span: tuple[datetime.datetime, datetime.datetime],
        issuer: x509.Name,
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(span[0])
            .not_valid_after(span[1])
        )

    def sign(self, name: str, *, address: str = "127.0.0.1", is_expired: bool = False) -> Signed:
        """A certificate for `address`."""
        return self._sign(name, self._name, self._key, address=address, is_expired=is_expired)

    def sign_itself(self, name: str, *, address: str = "127.0.0.1") -> Signed:
        """A certificate for `address` that no authority has signed."""
        return self._sign(name, None, None, address=address, is_expired=False)

    def _sign(
        self, name: str, issuer: x509.Name | None, issuer_key: ec.EllipticCurvePrivateKey | None, *, address: str,
        is_expired: bool,
    ) -> Signed:  # fmt: skip
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        until = self.now - DAY / 2 if is_expired else self.now + DAY
        places = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        builder = self._builder(subject, key.public_key(), (self.now - DAY, until), issuer or subject)
        signed = builder.add_extension(places, critical=False).sign(issuer_key or key, hashes.SHA256())
        found = Signed(self._folder / f"{name}.pem", self._folder / f"{name}.key", signed.serial_number)
        found.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        found.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return found

    def revoke(self, *serials: int) -> Path:
        """The list of what is revoked."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(self.now - DAY).next_update(self.now + DAY)
        for serial in serials:
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(self.now - DAY).build()
            builder = builder.add_revoked_certificate(revoked)
        path = self._folder / "revoked.pem"
        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path
