"""Certificates: made, read, judged, and kept while a node runs. The home of `cryptography`, beside OPC UA."""

from millstream.tls._authority import (
    Authority,
    CertificateFiles,
    begin_roll_over,
    end_roll_over,
    issue,
    make_authority,
    renew,
)
from millstream.tls._facts import CertificateFacts, covers, read_facts
from millstream.tls._faults import Fault, check_files, day_text
from millstream.tls._kept import KeptFiles

__all__ = [
    "Authority",
    "CertificateFacts",
    "CertificateFiles",
    "Fault",
    "KeptFiles",
    "begin_roll_over",
    "check_files",
    "covers",
    "day_text",
    "end_roll_over",
    "issue",
    "make_authority",
    "read_facts",
    "renew",
]
