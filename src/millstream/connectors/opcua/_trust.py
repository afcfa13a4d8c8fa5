"""Whom we trust: the certificates in a folder, and what is wrong with one that a server shows (OPC 10000-4, 6.1.3).

The folder: `own/` holds our certificate and key, `trusted/` certificates of servers or of authorities, `issuers/`
authorities that are only links of a chain; revocation lists (`*.crl`) lie in either of the two.
What is not trusted is written into `rejected/`. Everything is read anew for each link, so moving a file is enough.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from millstream.kernel import AuthError, PlantError, Unreachable

CHAIN_MAX = 10  # authorities above a certificate; a longer chain is no chain that a person made
REJECTED_MAX = 100  # files in rejected/: a peer that shows a new certificate each time must not fill the disk
FILE_BYTES_MAX = 10 * 1024 * 1024  # a revocation list of a large authority has a few megabytes
OWN_DAYS = 5 * 365  # life of a certificate that we make for ourselves
OWN_KEY_BITS = 3072
_CERTIFICATES = (".der", ".pem", ".crt", ".cer")
_LISTS = (".crl",)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Expected:
    """What the certificate of a server has to fit. `application_uri` is what the server says of itself."""

    where: str
    host: str
    application_uri: str
    now: datetime


@dataclass(frozen=True, slots=True)
class TrustList:
    """What lies in the folder."""

    folder: Path
    trusted: Sequence[x509.Certificate]
    issuers: Sequence[x509.Certificate]
    revocations: Sequence[x509.CertificateRevocationList]
    needs_revocation_list: bool = False

    @classmethod
    def load(cls, folder: Path, *, needs_revocation_list: bool = False) -> TrustList:
        """Read the folder, and make its parts where they are missing. Raises AuthError, naming an unreadable file."""
        for name in ("own", "trusted", "issuers", "rejected"):
            with _reading(folder / name):
                (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        places = (folder / "trusted", folder / "issuers")
        trusted, issuers = (_load(place, _CERTIFICATES, _certificates) for place in places)
        revocations = [found for place in places for found in _load(place, _LISTS, _revocation_lists)]
        return cls(folder, trusted, issuers, revocations, needs_revocation_list)

    def fault(self, shown: bytes, expected: Expected) -> PlantError | None:
        """What is wrong with the certificates that a server shows, its own first; None when all is well.

        Unreachable, since it may be trusted or replaced while we try again. An untrusted one is written to rejected/.
        """
        chain = self._chain(certificates_in(shown))
        if not chain:
            return _fault("the OPC UA server shows no certificate", expected, "", "", "MS-0221")
        leaf, name = chain[0], _name(chain[0])
        if not any(certificate in self.trusted for certificate in chain):
            path = self._reject(leaf)
            return _fault(
                "the OPC UA server's certificate is not trusted", expected, name,
                f"compare the fingerprint with the server's, then move {path} to {self.folder / 'trusted'}", "MS-0221",
            )  # fmt: skip
        for certificate in chain:
            if not certificate.not_valid_before_utc <= expected.now <= certificate.not_valid_after_utc:
                return _fault(
                    "the OPC UA server's certificate is out of its time", expected,
                    f"{_name(certificate)}, valid {certificate.not_valid_before_utc:%Y-%m-%d} to "
                    f"{certificate.not_valid_after_utc:%Y-%m-%d}",
                    "renew the server's certificate, or set the clocks", "MS-0220",
                )  # fmt: skip
        return self._revoked(chain, expected) or self._other_name(leaf, expected)

    def _chain(self, shown: Sequence[x509.Certificate]) -> list[x509.Certificate]:
        """The certificate and the authorities above it, as far as they are known."""
        if not shown:
            return []
        known = (*self.trusted, *self.issuers, *shown[1:])
        chain = [shown[0]]
        while len(chain) <= CHAIN_MAX:
            issuers = [other for other in known if other not in chain and _has_signed(other, chain)]
            if not issuers:
                break
            # An authority may have several certificates of one key: the trusted one, and the one that lives longest.
            chain.append(max(issuers, key=lambda found: (found in self.trusted, found.not_valid_after_utc)))
        return chain

    def _revoked(self, chain: Sequence[x509.Certificate], expected: Expected) -> PlantError | None:
        for certificate, issuer in itertools.pairwise(chain):
            lists = [found for found in self.revocations if _is_list_of(found, issuer)]
            if any(found.get_revoked_certificate_by_serial_number(certificate.serial_number) for found in lists):
                return _fault(
                    "the OPC UA server's certificate is revoked", expected, _name(certificate),
                    "find out why, and give the server a new one", "MS-0222",
                )  # fmt: skip
            is_fresh = any((found.next_update_utc or expected.now) >= expected.now for found in lists)
            if self.needs_revocation_list and not is_fresh:
                return _fault(
                    "nobody knows whether the OPC UA server's certificate is revoked", expected, _name(certificate),
                    f"put a fresh revocation list (.crl) of {_name(issuer)} into {self.folder / 'issuers'}", "MS-1102",
                )  # fmt: skip
        return None

    def _other_name(self, leaf: x509.Certificate, expected: Expected) -> PlantError | None:
        uris, hosts = subject_names(leaf)
        if expected.application_uri not in uris:
            return _fault(
                "the OPC UA server's certificate is made for another application", expected,
                f"{', '.join(uris) or 'no application URI'}, and the server says it is {expected.application_uri}",
                "give the server a certificate with its own application URI in the subjectAltName", "MS-1101",
            )  # fmt: skip
        # Whoever trusts this very certificate knows whose it is; an authority signs for many hosts.
        if leaf not in self.trusted and expected.host.lower() not in hosts:
            return _fault(
                "the OPC UA server's certificate is for another host", expected, ", ".join(hosts) or "no host name",
                f"write one of these names into 'endpoint', or put the certificate into {self.folder / 'trusted'}",
                "MS-0223",
            )  # fmt: skip
        return None

    def _reject(self, certificate: x509.Certificate) -> Path:
        """Keep it for a person to look at; the oldest makes room."""
        folder = self.folder / "rejected"
        path = folder / f"{_file_name(certificate)}.der"
        with _reading(path):
            kept = sorted(folder.glob("*.der"), key=lambda file: file.stat().st_mtime_ns)
            if path not in kept:
                for oldest in kept[: max(0, len(kept) + 1 - REJECTED_MAX)]:
                    oldest.unlink(missing_ok=True)
                path.write_bytes(certificate.public_bytes(serialization.Encoding.DER))
        return path


def make_own(folder: Path, application_uri: str, host: str, now: datetime) -> tuple[Path, Path, bool]:
    """Our certificate and key in own/; made at the first start. The third tells whether they are new."""
    certificate_file, key_file = folder / "own" / "certificate.der", folder / "own" / "private_key.pem"
    if certificate_file.exists() and key_file.exists():
        return certificate_file, key_file, False
    key = rsa.generate_private_key(public_exponent=65537, key_size=OWN_KEY_BITS)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Millstream at {host}"[:64])])
    names = [x509.UniformResourceIdentifier(application_uri), x509.DNSName(host)]
    usage = x509.KeyUsage(True, True, True, True, False, True, False, False, False)  # as OPC 10000-6, 6.2.2 asks
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # the server's clock may be behind
        .not_valid_after(now + timedelta(days=OWN_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(key_id, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with _reading(key_file):
        key_file.touch(mode=0o600)
        key_file.write_bytes(pem)
        certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.DER))
    return certificate_file, key_file, True


def certificates_in(chain: bytes) -> list[x509.Certificate]:
    """The certificates of a chain as OPC UA sends it: DER one after the other. Empty when the first is none."""
    found: list[x509.Certificate] = []
    while len(chain) > 4 and len(found) <= CHAIN_MAX:
        size = int.from_bytes(chain[2:4], "big") + 4  # a certificate is longer than 255 bytes and shorter than 64 KiB
        try:
            found.append(x509.load_der_x509_certificate(chain[:size]))
        except ValueError:
            break
        chain = chain[size:]
    return found


def subject_names(certificate: x509.Certificate) -> tuple[list[str], list[str]]:
    """The URIs, and the host names and addresses, of the subjectAltName."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return [], []
    hosts = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address | ipaddress.IPv4Network | ipaddress.IPv6Network]
    addresses = list(names.get_values_for_type(x509.IPAddress))
    return names.get_values_for_type(x509.UniformResourceIdentifier), hosts + [str(found) for found in addresses]


def _fault(what: str, expected: Expected, got: str, next_step: str, code: str) -> Unreachable:
    return Unreachable(what, where=expected.where, got=got or None, next_step=next_step or None, code=code)


def _has_signed(issuer: x509.Certificate, chain: Sequence[x509.Certificate]) -> bool:
    """Whether `issuer` may stand above the end of `chain` (RFC 5280, 6.1.4: authority, path length, key usage)."""
    try:
        chain[-1].verify_directly_issued_by(issuer)
        limits = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        if not limits.ca or (limits.path_length is not None and len(chain) - 1 > limits.path_length):
            return False
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as error:
        return error.oid == x509.KeyUsage.oid  # without it, any use is allowed
    except (ValueError, TypeError, InvalidSignature):
        return False
    return usage.key_cert_sign


def _is_list_of(found: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    try:
        return found.issuer == issuer.subject and found.is_signature_valid(key)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def _name(certificate: x509.Certificate) -> str:
    fingerprint = certificate.fingerprint(hashes.SHA1()).hex()
    return f"{certificate.subject.rfc4514_string()[:200]} [{fingerprint}]"


def _file_name(certificate: x509.Certificate) -> str:
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", str(common[0].value) if common else "unnamed")[:60].lstrip(".")
    return f"{name}-{certificate.fingerprint(hashes.SHA1()).hex()}"


def _load(place: Path, endings: tuple[str, ...], read: Callable[[bytes], Sequence[T]]) -> list[T]:
    found: list[T] = []
    for path in sorted(place.iterdir()):
        if path.suffix.lower() not in endings:
            continue
        with _reading(path):
            if path.stat().st_size > FILE_BYTES_MAX:
                raise ValueError("the file is too large")
            found += read(path.read_bytes())
    return found


def _certificates(raw: bytes) -> Sequence[x509.Certificate]:
    return x509.load_pem_x509_certificates(raw) if raw.startswith(b"-----") else [x509.load_der_x509_certificate(raw)]


def _revocation_lists(raw: bytes) -> Sequence[x509.CertificateRevocationList]:
    return [x509.load_pem_x509_crl(raw) if raw.startswith(b"-----") else x509.load_der_x509_crl(raw)]


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise AuthError(
            "a file of the trust list cannot be used",
            where=str(path),
            expected="a readable certificate (.der, .pem, .crt, .cer) or revocation list (.crl), DER or PEM",
            got=f"{type(error).__name__}: {error}"[:200],
        ) from error


def utc_now(now_ns: int) -> datetime:
    """A clock's time as certificates have it."""
    return datetime.fromtimestamp(now_ns / 1e9, UTC)
