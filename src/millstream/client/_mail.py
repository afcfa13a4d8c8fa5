"""A notification as an e-mail, to each of its addresses once."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from hashlib import sha256
from typing import TYPE_CHECKING

from millstream.kernel import AuthError, PlantError, Unreachable
from millstream.protocols.alarm import Notification

if TYPE_CHECKING:
    from millstream.config import MailChannel

WAIT_S = 15.0  # for each word of the server
REFUSED = 500  # from here on an answer is for good (RFC 5321, 4.2.1)


@dataclass(slots=True)
class Addresses:
    """Of one message: those that the server has not taken yet, and what it said of those that it never will."""

    left: list[str]
    refused: dict[str, str] = field(default_factory=dict)

    def settle(self, answers: Mapping[str, tuple[int, bytes]]) -> None:
        """The server has taken the message for all that are left but for these."""
        told = {address: (code, text) for address, (code, text) in answers.items() if code >= REFUSED}
        self.refused |= {a: f"{code} {text.decode(errors='replace')}"[:200] for a, (code, text) in told.items()}
        self.left = [address for address in self.left if address in answers and address not in told]


async def send_mail(channel: MailChannel, told: Notification, to: Addresses, now_ns: int) -> None:
    """One message to all addresses that are left; taken when the server says so. One that it refuses for good is left
    out when it has taken others. Raises PlantError."""
    password = channel.password.resolve() if channel.password is not None else None
    await asyncio.to_thread(_send, channel, mail_of(channel, told, now_ns), to, password)


def mail_of(channel: MailChannel, told: Notification, now_ns: int) -> EmailMessage:
    """The message; its `Message-ID` is the same whenever it is sent again."""
    mail = EmailMessage()
    mail["From"], mail["To"] = channel.sender, ", ".join(channel.to)
    mail["Subject"] = " ".join(told.subject.split())[:200]
    mail["Date"] = format_datetime(datetime.fromtimestamp(now_ns // 10**9, UTC))
    host = parseaddr(channel.sender)[1].rpartition("@")[2]
    mail["Message-ID"] = f"<{sha256(told.id.encode()).hexdigest()[:40]}@{host}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no automatic answers
    mail.set_content(told.text)
    return mail


def _send(channel: MailChannel, mail: EmailMessage, to: Addresses, password: str | None) -> None:
    """Blocking."""
    where = f"{channel.host}:{channel.port}"
    try:
        with _connected(channel, password) as server:
            to.settle(_refused(server, mail, to, is_first=len(to.left) == len(channel.to)))
    except smtplib.SMTPAuthenticationError as error:
        raise AuthError("the mail server refuses the log-in", where=where, code="MS-2733") from error
    except smtplib.SMTPResponseException as error:
        text = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        got = f"{error.smtp_code} {text}"[:200]
        raise PlantError("the mail server refuses it", where=where, got=got, code="MS-2732") from error
    except smtplib.SMTPRecipientsRefused as error:
        got = "; ".join(f"{a}: {code} {text.decode(errors='replace')}" for a, (code, text) in error.recipients.items())
        raise PlantError("the mail server refuses it", where=where, got=got[:200], code="MS-2732") from error
    except (smtplib.SMTPException, OSError) as error:
        text = str(error)[:200]
        raise Unreachable("the mail server cannot be reached", where=where, got=text, code="MS-2730") from error
    if to.left:
        got = ", ".join(to.left)[:200]
        raise PlantError("the mail server does not take it for all now", where=where, got=got, code="MS-2732")


def _refused(
    server: smtplib.SMTP, mail: EmailMessage, to: Addresses, *, is_first: bool
) -> Mapping[str, tuple[int, bytes]]:
    """What the server says of addresses that it did not take. Raises SMTPRecipientsRefused when it took none ever."""
    try:
        return server.send_message(mail, to_addrs=to.left)
    except smtplib.SMTPRecipientsRefused as error:
        if is_first:
            raise
        return error.recipients


def _connected(channel: MailChannel, password: str | None) -> smtplib.SMTP:
    context = ssl.create_default_context(cafile=channel.ca_file) if channel.security != "none" else None
    if channel.security == "tls":
        return _logged_in(
            smtplib.SMTP_SSL(channel.host, channel.port, socket.gethostname(), timeout=WAIT_S, context=context),
            channel, password,
        )  # fmt: skip
    server = smtplib.SMTP(channel.host, channel.port, socket.gethostname(), timeout=WAIT_S)
    if channel.security == "starttls":
        try:
            server.starttls(context=context)
        except BaseException:
            server.close()
            raise
    return _logged_in(server, channel, password)


def _logged_in(server: smtplib.SMTP, channel: MailChannel, password: str | None) -> smtplib.SMTP:
    try:
        if channel.user is not None and password is not None:
            server.login(channel.user, password)
    except BaseException:
        server.close()
        raise
    return server
