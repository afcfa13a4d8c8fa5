"""The one place where asyncua's exceptions become ours (STYLE.md, rule 26)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from asyncua import ua

from millstream.kernel import AuthError, PlantError, ProtocolViolation, Unreachable

_S = ua.StatusCodes
_CREDENTIALS = {_S.BadUserAccessDenied, _S.BadIdentityTokenInvalid, _S.BadIdentityTokenRejected}
_CERTIFICATE = {
    _S.BadSecurityChecksFailed, _S.BadCertificateInvalid, _S.BadCertificateTimeInvalid, _S.BadCertificateUntrusted,
    _S.BadCertificateHostNameInvalid, _S.BadCertificateUriInvalid, _S.BadCertificateUseNotAllowed,
    _S.BadCertificateIssuerTimeInvalid, _S.BadCertificateIssuerUseNotAllowed, _S.BadCertificateRevocationUnknown,
    _S.BadCertificateIssuerRevocationUnknown, _S.BadCertificateRevoked, _S.BadCertificateIssuerRevoked,
    _S.BadCertificateChainIncomplete, _S.BadCertificatePolicyCheckFailed, _S.BadApplicationSignatureInvalid,
    _S.BadUserSignatureInvalid, _S.BadNoValidCertificates,
}  # fmt: skip
_POLICY = {_S.BadSecurityModeRejected, _S.BadSecurityPolicyRejected, _S.BadSecurityModeInsufficient}
_ENCODING = {_S.BadDecodingError, _S.BadEncodingError, _S.BadTcpMessageTypeInvalid, _S.BadUnknownResponse}


def status_name(code: int) -> str:
    """The standard's name of a StatusCode."""
    return str(ua.StatusCode(code).name)


def fault(code: int, where: str) -> PlantError:
    """The error for a StatusCode with which the server refused the link or a whole request."""
    name = status_name(code)
    base = code & 0xFFFF0000
    if base in _CREDENTIALS:
        return AuthError(
            "the OPC UA server refused the user", where=where, got=name,
            next_step="correct 'user' and the secret that 'password' refers to, or 'user_certificate'; without them "
            "the session is anonymous",
        )  # fmt: skip
    if base in _CERTIFICATE:
        return AuthError(
            "the OPC UA server refused our certificate", where=where, got=name, code="MS-0224",
            next_step="trust this client's certificate at the server, and compare its dates, host name and the "
            "application URI in its subjectAltName",
        )  # fmt: skip
    if base in _POLICY:
        return AuthError(
            "the OPC UA server does not accept this security", where=where, got=name, code="MS-1103",
            next_step="set 'security.policy' and 'security.mode' to what the server offers",
        )  # fmt: skip
    if base in _ENCODING:
        return ProtocolViolation("the OPC UA server and we do not understand each other", where=where, got=name)
    return Unreachable("the OPC UA server refused or ended the session", where=where, got=name)


@contextmanager
def suppressed_refusal() -> Iterator[None]:
    """Let pass that the server answers a request with a bad status: then the link still stands."""
    try:
        yield
    except PlantError as error:
        if not isinstance(error.__cause__, ua.UaStatusCodeError):
            raise


def silent(where: str, what: str = "the OPC UA server does not answer") -> Unreachable:
    """The error for a link that is gone."""
    return Unreachable(what, where=where, next_step="check address, port and firewall; it is tried again")


@contextmanager
def translated(where: str, violation: list[ProtocolViolation] | None = None) -> Iterator[None]:
    """Turn whatever asyncua raises inside into Unreachable, AuthError or ProtocolViolation.

    `violation` holds what the transport found wrong, if anything: it explains why the link is gone.
    """
    try:
        yield
    except PlantError:
        raise
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # The library lets a cancellation leak when its link dies; nobody cancelled us.
        raise (violation[0] if violation else silent(where, "the link to the OPC UA server was lost")) from None
    except ua.UaStatusCodeError as error:
        raise (violation[0] if violation else fault(error.code, where)) from error
    except TimeoutError as error:
        raise (violation[0] if violation else silent(where)) from error
    except (OSError, EOFError) as error:
        reason = str(error) or type(error).__name__
        raise (violation[0] if violation else silent(where, f"no link to the OPC UA server: {reason}")) from error
    except ua.UaError as error:
        raise (violation[0] if violation else _library_error(error, where)) from error


def _library_error(error: ua.UaError, where: str) -> PlantError:
    text = str(error)
    if "No matching endpoints" in text:
        return AuthError(
            "the OPC UA server does not offer this security", where=where, code="MS-1103",
            next_step="set 'security.policy' and 'security.mode' to what the server offers",
        )  # fmt: skip
    if "certificate mismatch" in text:
        return AuthError(
            "the OPC UA server shows another certificate than the configured one", where=where, code="MS-0221",
            next_step="find out who answers there; when the server was renewed, put its new certificate into "
            "'security.server_certificate'",
        )  # fmt: skip
    return ProtocolViolation(f"the OPC UA server's answer makes no sense: {text[:200]}", where=where)
