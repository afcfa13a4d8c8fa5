"""Signing with the credentials that an operator gave: what an edge demands of its configurations and modules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from millstream.kernel import ConfigError
from millstream.protocols.act import Act, signed_act
from millstream.protocols.module import Manifest, signed_manifest
from millstream.protocols.nats_jwt import KeyPair, parse_creds, read_token
from millstream.protocols.site_config import Revision, signed_bytes
from millstream.protocols.trust_chain import name_of, sign


@dataclass(frozen=True, slots=True)
class Signer:
    """Somebody who signs. `name` is what the operator calls them: it is the author of what they sign."""

    name: str
    token: str
    key: KeyPair

    @classmethod
    def of(cls, file: Path) -> Signer:
        """From a creds file (blocking). Raises ConfigError, AuthError."""
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("the credentials to sign with cannot be read", where=str(file), got=str(error)) from error
        token, key = parse_creds(text, where=str(file))
        name = name_of(read_token(token))
        if not name:
            raise ConfigError("these credentials have no name", where=str(file), expected="of `millstream user add`")
        return cls(name, token, key)

    def sign_revision(self, revision: Revision) -> Revision:
        """The same, signed by this author."""
        assert revision.author == self.name
        return msgspec.structs.replace(revision, signature=sign(signed_bytes(revision), self.token, self.key))

    def sign_act(self, act: Act) -> Act:
        """The same, signed by this author."""
        assert act.author == self.name
        return msgspec.structs.replace(act, signature=sign(signed_act(act), self.token, self.key))

    def sign_manifest(self, manifest: Manifest) -> Manifest:
        """The same, signed by this author."""
        assert manifest.author == self.name
        return msgspec.structs.replace(manifest, signature=sign(signed_manifest(manifest), self.token, self.key))
