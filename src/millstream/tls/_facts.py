"""What stands in a certificate file."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from millstream.kernel import ConfigError, needs_extra

with needs_extra("TLS", "tls"):
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import ExtendedKeyUsageOID

FILE_BYTES_MAX = 1 << 20  # a bundle of all public authorities has a fifth of it
CHAIN_MAX = 10


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """One certificate. Times are Unix seconds; `names` are host names and addresses that it is good for."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before_s: int
    not_after_s: int
    is_authority: bool
    serves_clients: bool
    fingerprint: str

    def as_dict(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "subject": self.subject, "issuer": self.issuer, "names": list(self.names),
            "not_before_s": self.not_before_s, "not_after_s": self.not_after_s, "is_authority": self.is_authority,
            "fingerprint": self.fingerprint,
        }  # fmt: skip


def read_facts(path: Path) -> list[CertificateFacts]:
    """Of each certificate in a PEM file, in its order. Raises ConfigError (MS-2500)."""
    return [facts_of(certificate) for certificate in parse_certificates(read_pem(path), path)]


def read_pem(path: Path) -> bytes:
    """Raises ConfigError (MS-2500)."""
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX)
    except OSError as error:
        raise ConfigError(
            "a TLS file cannot be read", where=str(path), got=(error.strerror or str(error)).lower(), code="MS-2500"
        ) from error


def parse_certificates(raw: bytes, path: Path) -> list[x509.Certificate]:
    """Raises ConfigError (MS-2500) when there is none, or one that is broken."""
    try:
        return x509.load_pem_x509_certificates(raw)
    except ValueError as error:
        raise ConfigError("no certificate in PEM", where=str(path), got=_first_line(error), code="MS-2500") from error


def public_key_of(raw: bytes, path: Path) -> bytes:
    """The public half of a private key in PEM, to compare. Raises ConfigError (MS-2500)."""
    try:
        key = serialization.load_pem_private_key(raw, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            "no private key in PEM", where=str(path), expected="a key without a password", got=_first_line(error),
            code="MS-2500",
        ) from error  # fmt: skip
    return public_bytes(key.public_key())


def public_bytes(key: object) -> bytes:
    """A public key as bytes that can be compared."""
    return bytes(
        key.public_bytes(  # type: ignore[attr-defined]
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def facts_of(certificate: x509.Certificate) -> CertificateFacts:
    """What a person and a check want to know of it."""
    return CertificateFacts(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        names=tuple(_names(certificate)),
        not_before_s=int(certificate.not_valid_before_utc.timestamp()),
        not_after_s=int(certificate.not_valid_after_utc.timestamp()),
        is_authority=_is_authority(certificate),
        serves_clients=_serves_clients(certificate),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
    )


def has_signed(authorities: Sequence[x509.Certificate], chain: Sequence[x509.Certificate]) -> bool:
    """True when one of `authorities` stands above the first of `chain`, over the others of it."""
    current = chain[0]
    for _ in range(CHAIN_MAX):
        if any(_is_issued_by(current, authority) for authority in authorities):
            return True
        above = next((c for c in chain if c is not current and _is_issued_by(current, c)), None)
        if above is None:
            return False
        current = above
    return False


def covers(names: Iterable[str], host: str) -> bool:
    """True when one of a certificate's `names` is good for `host` (RFC 6125: a wildcard stands for one label)."""
    wanted = _plain(host)
    for name in names:
        if _plain(name) == wanted:
            return True
        if name.startswith("*.") and wanted.partition(".")[2] == _plain(name[2:]):
            return True
    return False


def _plain(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return host.rstrip(".").lower()


def _is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [
        *found.get_values_for_type(x509.DNSName),
        *(str(address) for address in found.get_values_for_type(x509.IPAddress)),
    ]


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except (x509.ExtensionNotFound, ValueError):
        return False


def _serves_clients(certificate: x509.Certificate) -> bool:
    """True when it may be shown as a client's, too."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in usage


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].lower()[:120]
