"""Who may say what sites run, as the operator says now: what the hub's desks ask before they store anything."""

from __future__ import annotations

from collections.abc import Callable

from millstream.kernel import AuthError, Clock
from millstream.model import AssetPath
from millstream.protocols.act import Act, signed_act
from millstream.protocols.module import Manifest, signed_manifest
from millstream.protocols.site_config import Revision, signed_bytes
from millstream.protocols.trust_chain import TrustChain


class Authors:
    """A signature counts if its author could sign then, and still may now: who was locked out starts nothing any
    more."""

    def __init__(self, chain: Callable[[], TrustChain], clock: Clock) -> None:
        self.chain = chain
        self._clock = clock

    def check_revision(self, revision: Revision, path: str) -> None:
        """Raise AuthError (MS-2413) unless somebody signed it who may, for the site at `path`."""
        chain, signed = self.chain(), signed_bytes(revision)
        try:
            for time_ns in (revision.time_ns, self._clock.now_ns()):
                author = chain.author(revision.signature, signed, time_ns, path)
            _check_name(author.name, revision.author)
        except AuthError as error:
            raise _refused(error, revision.edge, "MS-2413") from error

    def check_manifest(self, manifest: Manifest, root: AssetPath | None) -> None:
        """Raise AuthError (MS-2443) unless somebody signed it who may, for something below `root` or around it."""
        chain, signed = self.chain(), signed_manifest(manifest)
        try:
            for time_ns in (manifest.time_ns, self._clock.now_ns()):
                author = chain.author_near(manifest.signature, signed, time_ns, root)
            _check_name(author.name, manifest.author)
        except AuthError as error:
            raise _refused(error, manifest.digest, "MS-2443") from error

    def check_act(self, act: Act | None, subject: str, upon: str, place: str | None, code: str) -> None:
        """Raise AuthError (`code`) unless somebody signed this act upon what stands there now (`upon`) who is an author
        at `place` (None: of the whole tenant)."""
        try:
            if act is None:
                raise AuthError(
                    "nobody signed it", expected="a signature of an engineer", next_step="say it with --sign"
                )
            for time_ns in (act.time_ns, self._clock.now_ns()):
                author = self.chain().author(act.signature, signed_act(act), time_ns, place)
            _check_name(author.name, act.author)
            if act.upon != upon:
                raise AuthError(
                    "it was signed for what stood there before", expected=upon, got=act.upon[:60], next_step="try again"
                )
        except AuthError as error:
            raise _refused(error, subject, code) from error


def _check_name(signed: str, said: str) -> None:
    if signed != said:
        raise AuthError("its author is another than who signed", expected=signed, got=said)


def _refused(error: AuthError, where: str, code: str) -> AuthError:
    return AuthError(
        f"the signature is refused: {error.what}", where=where, expected=error.expected, got=error.got,
        next_step=error.next_step, code=code,
    )  # fmt: skip
