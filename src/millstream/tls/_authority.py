"""An authority for development and for plants without one: a folder with its certificate, its key, and what it signed.

``ca.pem`` is what others trust: the authority, and while it is replaced the one before it, too. ``ca.key`` signs.
``NAME.pem`` and ``NAME.key`` are a node's. What happens if it is killed here? A key is written before its certificate,
each whole; a node takes both when they fit one another.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from millstream.kernel import ConfigError, NotFoundError, needs_extra, write_private
from millstream.tls._facts import CertificateFacts, facts_of, parse_certificates, public_bytes, read_pem

with needs_extra("TLS", "tls"):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
SERVER_DAYS = 365
ALWAYS = ("localhost", "127.0.0.1", "::1")  # so that what runs on the same machine needs no name of it
_EARLY = timedelta(hours=1)  # clocks of small boxes are behind after a start
_PUBLIC = 0o644
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")
_HOST = re.compile(r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")
RESERVED = "ca"


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A certificate and its key, as written."""

    certificate: Path
    key: Path
    facts: CertificateFacts


@dataclass(frozen=True, slots=True)
class Authority:
    """The folder of an authority."""

    folder: Path

    @property
    def bundle(self) -> Path:
        """What others trust."""
        return self.folder / "ca.pem"

    @property
    def key(self) -> Path:
        """What signs."""
        return self.folder / "ca.key"

    def files(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of a node."""
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def names(self) -> list[str]:
        """Of the nodes that have a certificate here."""
        return sorted(path.stem for path in self.folder.glob("*.pem") if path.stem != RESERVED)


def make_authority(folder: Path, name: str, now_s: float, *, days: int = AUTHORITY_DAYS) -> CertificateFiles:
    """Make the folder and an authority in it. Raises ConfigError when there is one."""
    authority = Authority(folder)
    if authority.bundle.exists() or authority.key.exists():
        raise ConfigError(
            "an authority is there already", where=str(folder), code="MS-2510",
            next_step="name another folder with --folder, or replace it step by step: `millstream tls rollover`",
        )  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _not_written(error, folder) from error
    return _write_authority(authority, name, now_s, days, ())


def issue(folder: Path, name: str, names: Sequence[str], now_s: float, *, days: int = SERVER_DAYS) -> CertificateFiles:
    """A certificate for the node `name`, reached by `names` (and on its own machine). Raises ConfigError when it has
    one, NotFoundError without an authority."""
    authority = Authority(folder)
    if authority.files(name)[0].exists():
        raise ConfigError(
            "this node has a certificate already", where=str(authority.files(name)[0]), code="MS-2510",
            next_step=f"renew it: `millstream tls renew {name}`; for other names, remove it first",
        )  # fmt: skip
    return _sign(authority, name, tuple(dict.fromkeys((*names, *ALWAYS))), now_s, days)


def renew(folder: Path, name: str, now_s: float, *, days: int = SERVER_DAYS) -> CertificateFiles:
    """A new key and certificate for the same names, in the place of the old ones. Raises NotFoundError."""
    authority = Authority(folder)
    path = authority.files(name)[0]
    if not path.exists():
        raise NotFoundError(
            "no certificate of this name", where=str(path), expected=", ".join(authority.names()) or "none is there",
            next_step="make one: `millstream tls issue`", code="MS-2510",
        )  # fmt: skip
    return _sign(authority, name, facts_of(parse_certificates(read_pem(path), path)[0]).names, now_s, days)


def begin_roll_over(folder: Path, now_s: float, *, days: int = AUTHORITY_DAYS) -> CertificateFiles:
    """A new authority that signs from now on; the bundle has the old one behind it. Raises ConfigError when a roll-over
    is under way."""
    authority = Authority(folder)
    old = _load(authority)
    if len(old) > 1:
        raise ConfigError(
            "a roll-over is under way", where=str(authority.bundle), code="MS-2510",
            next_step="when every node has a certificate of the new authority: `millstream tls rollover --finish`",
        )  # fmt: skip
    name = old[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    return _write_authority(authority, str(name), now_s, days, old)


def end_roll_over(folder: Path) -> list[CertificateFacts]:
    """Take the old authorities out of the bundle; gives them. Raises ConfigError while a certificate here is of one of
    them, or when there is none."""
    authority = Authority(folder)
    bundle = _load(authority)
    if len(bundle) == 1:
        raise ConfigError("no roll-over is under way", where=str(authority.bundle), code="MS-2510")
    for name in authority.names():
        path = authority.files(name)[0]
        if parse_certificates(read_pem(path), path)[0].issuer != bundle[0].subject:
            raise ConfigError(
                "a certificate is of the old authority still", where=str(path), code="MS-2510",
                next_step=f"`millstream tls renew {name}`, and bring it to its node",
            )  # fmt: skip
    _write(authority.bundle, _pem(bundle[:1]), _PUBLIC)
    return [facts_of(old) for old in bundle[1:]]


def _write_authority(
    authority: Authority, name: str, now_s: float, days: int, others: Sequence[x509.Certificate]
) -> CertificateFiles:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.fromtimestamp(int(now_s), UTC)
    # The moment stands in the name, so that the old and the new authority of a roll-over are told apart.
    subject = x509.Name([
        x509.NameAttribute(NameOID.COMMON_NAME, name),
        x509.NameAttribute(NameOID.SERIAL_NUMBER, f"{x509.random_serial_number():x}"[:16]),
    ])  # fmt: skip
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        _builder(subject, subject, key, now)
        .not_valid_after(_end(now, days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(authority.key, _key_pem(key))
    _write(authority.bundle, _pem([certificate, *others]), _PUBLIC)
    return CertificateFiles(authority.bundle, authority.key, facts_of(certificate))


def _sign(authority: Authority, name: str, names: Sequence[str], now_s: float, days: int) -> CertificateFiles:
    if not _NAME.match(name) or name == RESERVED:
        raise ConfigError(
            "not a name for a certificate", got=name[:60], code="MS-2510",
            expected="1 to 32 of letters, digits, '_' and '-', not 'ca'",
        )  # fmt: skip
    signer = _load(authority)[0]
    signing_key = _load_key(authority, signer)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.fromtimestamp(int(now_s), UTC)
    certificate = (
        _builder(signer.subject, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, now)
        .not_valid_after(min(_end(now, days), signer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general_name(each) for each in names]), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
        .sign(signing_key, hashes.SHA256())
    )  # fmt: skip
    certificate_path, key_path = authority.files(name)
    _write(key_path, _key_pem(key))
    _write(certificate_path, _pem([certificate]), _PUBLIC)
    return CertificateFiles(certificate_path, key_path, facts_of(certificate))


def _builder(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLY)
    )


def _load(authority: Authority) -> list[x509.Certificate]:
    if not authority.bundle.exists():
        raise NotFoundError(
            "no authority here", where=str(authority.bundle), next_step="make one: `millstream tls init`",
            code="MS-2510",
        )  # fmt: skip
    return parse_certificates(read_pem(authority.bundle), authority.bundle)


def _load_key(authority: Authority, signer: x509.Certificate) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(read_pem(authority.key), password=None)
    except ValueError as error:
        raise ConfigError("no private key in PEM", where=str(authority.key), code="MS-2500") from error
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    if public_bytes(key.public_key()) != public_bytes(signer.public_key()):
        raise ConfigError(
            "the authority's key is not that of its certificate", where=str(authority.key), code="MS-2501",
            next_step="after a roll-over that was broken off, run `millstream tls rollover` again",
        )  # fmt: skip
    return key


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        if not _HOST.match(text):
            raise ConfigError(
                "not a host name or address", got=text[:80], expected="such as hub.example or 10.0.0.5", code="MS-2510"
            ) from None
        return x509.DNSName(text)


def _end(now: datetime, days: int) -> datetime:
    if not 0 < days <= 36_500:
        raise ConfigError("not a lifetime of a certificate", expected="1 to 36500 days", got=str(days), code="MS-2510")
    return now + timedelta(days=days)


def _pem(certificates: Sequence[x509.Certificate]) -> str:
    return "".join(c.public_bytes(serialization.Encoding.PEM).decode("ascii") for c in certificates)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode("ascii")


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    try:
        write_private(path, text, mode=mode)
    except OSError as error:
        raise _not_written(error, path) from error


def _not_written(error: OSError, path: Path) -> ConfigError:
    got = (error.strerror or str(error)).lower()
    return ConfigError("the folder of the authority cannot be written", where=str(path), got=got, code="MS-2510")
