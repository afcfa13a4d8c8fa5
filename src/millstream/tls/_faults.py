"""What is wrong with the TLS files of a node: each fault with its code, its file, and what to do."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from millstream.kernel import ConfigError, duration_text, needs_extra
from millstream.sdk import TlsFiles
from millstream.tls._facts import (
    CertificateFacts,
    covers,
    facts_of,
    has_signed,
    parse_certificates,
    public_bytes,
    public_key_of,
    read_pem,
)

with needs_extra("TLS", "tls"):
    from cryptography import x509

ENDS_SOON_S = 30 * 86400  # of a certificate with a short life: its last third
RENEW = "renew it (`millstream tls renew`), the node takes the new one without a restart"
_READABLE_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. `key` is the entry of the `tls` section; a node cannot use the files when `is_fatal`."""

    code: str
    key: str
    message: str
    next_step: str
    is_fatal: bool = False

    def __str__(self) -> str:
        return f"{self.message}; {self.next_step}"


def check_files(
    files: TlsFiles, names: Sequence[str], now_s: float, *, is_server: bool = True, is_client: bool = False
) -> list[Fault]:
    """All that is wrong with the files of a server that is reached by `names`, of a client, or of who is both. Reads
    them."""
    found: list[Fault] = []
    chain: list[x509.Certificate] = []
    if files.certificate is not None:
        try:
            chain = parse_certificates(read_pem(files.certificate), files.certificate)
        except ConfigError as error:
            return [_unusable("certificate", error)]
        found += _certificate(files.certificate, chain[0], names, now_s, is_client=is_client)
        found += _key(files.key or files.certificate, files.certificate, chain[0])
    if files.ca_file is None:
        return found
    try:
        authorities = parse_certificates(read_pem(files.ca_file), files.ca_file)
    except ConfigError as error:
        return [*found, _unusable("ca_file", error)]
    if is_server and chain:
        found += _authorities(files, authorities, chain, now_s)
    return found


def _authorities(
    files: TlsFiles, authorities: Sequence[x509.Certificate], chain: Sequence[x509.Certificate], now_s: float
) -> Iterator[Fault]:
    above = [facts_of(authority) for authority in authorities if has_signed([authority], chain)]
    if not above:
        yield Fault(
            "MS-2505", "ca_file", f"{files.ca_file} has no authority that signed {files.certificate}",
            "add the authority that signed it; clients that trust this file would refuse the node", is_fatal=True,
        )  # fmt: skip
        return
    assert files.ca_file is not None
    longest = max(above, key=lambda facts: facts.not_after_s)
    yield from _time(longest, files.ca_file, now_s, "ca_file", "replace the authority (`millstream tls rollover`)")


def day_text(time_s: float) -> str:
    """A moment as a person reads it, in UTC."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _certificate(
    path: Path, certificate: x509.Certificate, names: Sequence[str], now_s: float, *, is_client: bool
) -> Iterator[Fault]:
    facts = facts_of(certificate)
    yield from _time(facts, path, now_s)
    yield from _names(facts, path, names)
    if is_client and not facts.serves_clients:
        yield Fault(
            "MS-2507", "certificate", f"{path} is for servers only, and is to be shown to one as a client's",
            "take a certificate with the key usage clientAuth",
        )  # fmt: skip


def _key(path: Path, certificate_path: Path, certificate: x509.Certificate) -> Iterator[Fault]:
    try:
        fits = public_key_of(read_pem(path), path) == public_bytes(certificate.public_key())
    except ConfigError as error:
        yield _unusable("key", error)
        return
    if not fits:
        yield Fault(
            "MS-2501", "key", f"{path} is not the key of {certificate_path}",
            "take certificate and key of one and the same making", is_fatal=True,
        )  # fmt: skip
    if path.stat().st_mode & _READABLE_BY_OTHERS:
        yield Fault("MS-2506", "key", f"{path} can be read by others than its owner", f"chmod 600 {path}")


def _time(
    facts: CertificateFacts, path: Path, now_s: float, key: str = "certificate", renew: str = RENEW
) -> Iterator[Fault]:
    if now_s < facts.not_before_s:
        yield Fault(
            "MS-2502", key, f"{path} is not valid before {day_text(facts.not_before_s)}",
            "set the clock, or take another certificate",
        )  # fmt: skip
    left_s, life_s = facts.not_after_s - now_s, facts.not_after_s - facts.not_before_s
    if left_s <= 0:
        yield Fault("MS-2502", key, f"{path} has expired on {day_text(facts.not_after_s)}", renew)
    elif left_s < min(ENDS_SOON_S, life_s / 3):
        text = f"{path} ends in {duration_text(left_s)}, on {day_text(facts.not_after_s)}"
        yield Fault("MS-2503", key, text, renew)


def _names(facts: CertificateFacts, path: Path, names: Sequence[str]) -> Iterator[Fault]:
    for name in names:
        if not covers(facts.names, name):
            yield Fault(
                "MS-2504", "certificate", f"{path} is not for {name!r}, only for {', '.join(facts.names) or 'no name'}",
                "make one with this name (`millstream tls issue`), or correct `names`",
            )  # fmt: skip


def _unusable(entry: str, error: ConfigError) -> Fault:
    message = f"{error.where}: {error.what}" + (f", got {error.got}" if error.got else "")
    next_step = "give a PEM file that the node's user can read; a key has no password"
    return Fault(error.code, entry, message, next_step, is_fatal=True)
