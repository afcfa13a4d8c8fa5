"""How a link is protected, and who we say we are: certificates, trust in the server, user and password."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from urllib.parse import urlsplit

from asyncua import Client, ua
from asyncua.crypto import security_policies, uacrypto
from cryptography import x509

from millstream.connectors.opcua._config import OpcUaConfig, SecurityMode, SecurityPolicy
from millstream.connectors.opcua._trust import Expected, TrustList, certificates_in, make_own, subject_names, utc_now
from millstream.kernel import AuthError, ConfigError
from millstream.sdk import ConnectorTools, SecretRef

_POLICIES = {
    SecurityPolicy.BASIC256SHA256: security_policies.SecurityPolicyBasic256Sha256,
    SecurityPolicy.AES128_SHA256_RSA_OAEP: security_policies.SecurityPolicyAes128Sha256RsaOaep,
    SecurityPolicy.AES256_SHA256_RSA_PSS: security_policies.SecurityPolicyAes256Sha256RsaPss,
}
_MODES = {
    SecurityMode.SIGN: ua.MessageSecurityMode.Sign,
    SecurityMode.SIGN_AND_ENCRYPT: ua.MessageSecurityMode.SignAndEncrypt,
}


class Protection:
    """Prepares one client: before the channel is opened, and before the session is activated."""

    def __init__(self, client: Client, config: OpcUaConfig, endpoint: str, tools: ConnectorTools) -> None:
        self._client = client
        self._config = config
        self._endpoint = endpoint
        self._tools = tools
        self._user_certificate: x509.Certificate | None = None

    async def secure(self) -> None:
        """Load what the policy needs and check the server's certificate. Raises AuthError, Unreachable."""
        config, client = self._config, self._client
        if config.user is not None and config.password is not None:
            client.set_user(config.user)
            client.set_password(_secret(config.password))
        await self._load_user_certificate()
        security = config.security
        if security.policy is SecurityPolicy.NONE:
            return
        certificate, key = await self._own()
        server: bytes | Path | None = security.server_certificate
        if server is None:
            server = await self._shown_certificate()
        password = _secret(security.private_key_password) if security.private_key_password else None
        try:
            if config.application_uri is None:
                client.application_uri = await _uri_in(certificate) or client.application_uri
            await client.set_security(
                _POLICIES[security.policy], str(certificate), str(key), password,
                server if isinstance(server, bytes) else str(server), _MODES[security.mode],
            )  # fmt: skip
        except (OSError, ValueError, TypeError) as error:
            raise _unusable(
                error, f"{certificate}, {key}, {security.server_certificate or 'no server_certificate'}"
            ) from error

    async def activate(self) -> None:
        """Log in as the configured user. Raises AuthError rather than send a secret in clear."""
        client = self._client
        if self._user_certificate is not None:
            self._refuse_clear(
                ua.UserTokenType.Certificate, "the OPC UA server wants a user certificate without a signature",
                "use a security policy: without one nobody could tell a copy of the certificate from its owner",
            )  # fmt: skip
        elif self._config.user is not None and not self._config.allow_clear_password:
            self._refuse_clear(
                ua.UserTokenType.UserName, "the OPC UA server wants the password in clear",
                "use a security policy, or on a trusted network write 'allow_clear_password: true'",
            )  # fmt: skip
        await client.activate_session(client._username, client._password, self._user_certificate)

    def _refuse_clear(self, kind: ua.UserTokenType, what: str, next_step: str) -> None:
        policy = self._client.server_policy(kind)
        if policy.SecurityPolicyUri in (None, "", security_policies.SecurityPolicyNone.URI):
            raise AuthError(what, where=self._endpoint, next_step=next_step, code="MS-1104")

    async def _own(self) -> tuple[Path, Path]:
        security = self._config.security
        if security.certificate is not None and security.private_key is not None:
            return security.certificate, security.private_key
        assert security.pki is not None  # the configuration was checked
        host = socket.gethostname()
        uri = self._config.application_uri or f"urn:{host}:millstream"
        now = utc_now(self._tools.clock.now_ns())
        await asyncio.to_thread(TrustList.load, security.pki)
        certificate, key, is_new = await asyncio.to_thread(make_own, security.pki, uri, host, now)
        if is_new:
            self._tools.log.info("opcua_certificate_made", file=str(certificate), next_step="trust it at the server")
        return certificate, key

    async def _shown_certificate(self) -> bytes:
        """The certificate that the server shows for this policy, checked against the trust list if there is one."""
        security = self._config.security
        endpoints = await self._client.connect_and_get_server_endpoints()
        found = Client.find_endpoint(endpoints, _MODES[security.mode], _POLICIES[security.policy].URI)
        shown = bytes(found.ServerCertificate or b"")
        if security.pki is None:
            self._tools.log.warning(
                "opcua_server_not_authenticated", next_step="set security.pki or security.server_certificate"
            )
        else:
            expected = Expected(
                self._endpoint, urlsplit(self._endpoint).hostname or "", str(found.Server.ApplicationUri or ""),
                utc_now(self._tools.clock.now_ns()),
            )  # fmt: skip
            await asyncio.to_thread(self._check, security.pki, shown, expected)
        certificates = certificates_in(shown)
        if not certificates:
            raise AuthError("the OPC UA server shows no certificate", where=self._endpoint, code="MS-0221")
        return bytes(uacrypto.der_from_x509(certificates[0]))

    def _check(self, folder: Path, shown: bytes, expected: Expected) -> None:
        trust = TrustList.load(folder, needs_revocation_list=self._config.security.crl_required)
        fault = trust.fault(shown, expected)
        if fault is not None:
            raise fault

    async def _load_user_certificate(self) -> None:
        config = self._config
        if config.user_certificate is None or config.user_private_key is None:
            return
        password = _secret(config.user_private_key_password) if config.user_private_key_password else None
        try:
            self._user_certificate = await uacrypto.load_certificate(config.user_certificate)
            await self._client.load_private_key(config.user_private_key, password)
        except (OSError, ValueError, TypeError) as error:
            raise _unusable(error, f"{config.user_certificate}, {config.user_private_key}") from error


def _unusable(error: Exception, where: str) -> AuthError:
    return AuthError(
        "certificate or private key cannot be loaded",
        where=where,
        got=f"{type(error).__name__}: {error}"[:200],
        code="MS-1105",
        next_step="check the files: DER or PEM by their ending, and the password of the private key",
    )


def _secret(reference: SecretRef) -> str:
    try:
        return reference.resolve()
    except ConfigError as error:
        raise AuthError(error.what, where=error.where, next_step=error.next_step, code=error.code) from error


async def _uri_in(path: Path) -> str | None:
    uris, _ = subject_names(await uacrypto.load_certificate(path))
    return uris[0] if uris else None
