"""TLS as a client: one way to load certificates, and one way to say what is wrong with those of the peer."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from millstream.kernel import AuthError, ConfigError, PlantError, Unreachable

# X.509 verify results of OpenSSL (x509_vfy.h) by their cause.
_EXPIRED = frozenset({9, 10})  # not valid yet, has expired
_UNTRUSTED = frozenset({2, 18, 19, 20, 21})  # issuer unknown, self-signed
_REVOKED = frozenset({23})
_OTHER_NAME = frozenset({62, 63, 64})
_CAUSES = (
    (_EXPIRED, "MS-0220", "certificate of the peer is out of its time"),
    (_UNTRUSTED, "MS-0221", "certificate of the peer is not trusted"),
    (_REVOKED, "MS-0222", "certificate of the peer is revoked"),
    (_OTHER_NAME, "MS-0223", "certificate of the peer is for another name"),
)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. Without `ca_file` the system's authorities are trusted; `certificate` and `key` show who we are;
    `crl_file` lists what its authority has revoked; `server_name` is what the peer's certificate must be for, where
    that is not the host that is dialled."""

    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    crl_file: Path | None = None
    server_name: str | None = None


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """A context that checks certificate and name. Reads files. Raises ConfigError that names the file."""
    reading: Path | None = files.ca_file
    try:
        context = ssl.create_default_context(cafile=files.ca_file)
        if files.crl_file is not None:
            reading = files.crl_file
            context.load_verify_locations(files.crl_file)
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        if files.certificate is not None:
            reading = files.key or files.certificate
            # An encrypted key would make OpenSSL ask at the terminal; an empty answer makes it an error.
            context.load_cert_chain(files.certificate, files.key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(
            f"certificate file cannot be used: {getattr(error, 'strerror', None) or error}",
            where=str(reading),
            expected="PEM, readable, a key without a password that fits the certificate",
        ) from error
    return context


def tls_fault(error: BaseException, where: str) -> PlantError | None:
    """What a failed handshake means; None when `error` is none of TLS.

    A certificate of the peer is Unreachable: it may be replaced while we try again. When the peer refuses ours it is
    AuthError.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        code, what = next(
            ((code, what) for codes, code, what in _CAUSES if error.verify_code in codes),
            ("MS-0221", "certificate of the peer is not accepted"),
        )
        return Unreachable(what, where=where, got=error.verify_message, code=code)
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).lower().replace("_", " ")
        if "alert" in reason and ("certificate" in reason or "unknown ca" in reason):
            return AuthError("peer refuses our certificate", where=where, got=reason, code="MS-0224")
        return Unreachable("no TLS with this peer", where=where, got=reason, code="MS-0225")
    return None
