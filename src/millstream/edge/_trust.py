"""What an edge believes: the operator that it joined under, and the people whom that operator lets sign.

An edge without a pin (a hub without an operator) demands no signatures. One with a pin runs nothing from its hub that
no author of the operator has signed. The chain comes from the hub and is proven by the pin. The newest that was seen is
kept, so that a hub cannot go back behind a revocation.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from millstream.bus import StreamApi, disk_error, write_private
from millstream.kernel import AuthError, Clock
from millstream.protocols.module import Manifest, signed_manifest
from millstream.protocols.site_config import Revision, signed_bytes
from millstream.protocols.trust_chain import (
    CHAIN_STREAM,
    CHAIN_SUBJECT,
    Author,
    Pin,
    TrustChain,
    encode_chain,
    read_chain,
)
from millstream.sdk import Log

PIN_FILE, CHAIN_FILE = "uplink.trust", "uplink.chain"


class EdgeTrust:
    """`folder` holds the edge's credentials and, beside them, its pin; `place` is its path."""

    def __init__(self, folder: Path | None, place: str, clock: Clock, log: Log) -> None:
        self._folder = folder
        self._place = place
        self._clock = clock
        self._log = log
        self._pin: Pin | None = None
        self._chain: TrustChain | None = None

    async def open(self) -> None:
        """Read what is kept. Raises AuthError for a pin that cannot be read: without it anybody could configure."""
        await asyncio.to_thread(self._load)

    def _load(self) -> None:
        if self._folder is None or not (self._folder / PIN_FILE).exists():
            return
        try:
            self._pin = msgspec.json.decode((self._folder / PIN_FILE).read_bytes(), type=Pin)
        except (OSError, msgspec.DecodeError) as error:
            raise AuthError(
                "what this edge believes cannot be read", where=str(self._folder / PIN_FILE), got=str(error)[:120],
                next_step="join again", code="MS-2413",
            ) from error  # fmt: skip
        try:
            self._chain = read_chain((self._folder / CHAIN_FILE).read_bytes(), self._pin, self._now_s())
        except FileNotFoundError:
            return
        except (OSError, AuthError) as error:  # the hub has it
            self._log.warning("the kept chain of trust is none", error=str(error))

    def _now_s(self) -> float:
        return self._clock.now_ns() / 1e9

    @property
    def demands(self) -> bool:
        """Whether what comes from the hub has to be signed."""
        return self._pin is not None

    @property
    def mark(self) -> str:
        """Tells one chain from another: what it refused may be tried again under a newer one."""
        return "" if self._chain is None else self._chain.chain.people_token.rpartition(".")[2]

    @property
    def chain(self) -> bytes | None:
        """The one that is known, as the other boxes of a site get it."""
        return None if self._chain is None else encode_chain(self._chain.chain)

    def take(self, payload: bytes | None) -> None:
        """What another box of the site has seen; an older one than is known here is nothing new."""
        if self._pin is None or payload is None:
            return
        try:
            chain = read_chain(payload, self._pin, self._now_s())
        except AuthError as error:
            self._log.warning("the chain of trust of another box is refused", error=str(error))
            return
        if self._chain is None or chain.issued_s > self._chain.issued_s:
            self._chain = chain

    async def refresh(self, hub: StreamApi) -> None:
        """Take the hub's chain, if it is newer than what is known. Raises Unreachable."""
        if self._pin is None:
            return
        found = await hub.last(CHAIN_STREAM, CHAIN_SUBJECT)
        if found is None:
            return
        try:
            chain = read_chain(found.payload, self._pin, self._now_s())
        except AuthError as error:
            self._log.warning("the hub's chain of trust is refused", error=str(error))
            return
        known = self._chain
        if known is not None and (chain.issued_s < known.issued_s or chain.chain == known.chain):
            return
        self._chain = chain
        assert self._folder is not None
        text = encode_chain(chain.chain).decode()
        try:
            await asyncio.to_thread(write_private, self._folder / CHAIN_FILE, text)
        except OSError as error:
            raise disk_error(error, self._folder) from error

    def check_revision(self, revision: Revision) -> Author | None:
        """Who vouches for a revision; None where nobody has to. Raises AuthError (MS-2413)."""
        if self._pin is None:
            return None
        try:
            author = self._known().author(revision.signature, signed_bytes(revision), revision.time_ns, self._place)
            if author.name != revision.author:
                raise AuthError("its author is another than who signed", expected=author.name, got=revision.author)
        except AuthError as error:
            raise AuthError(
                f"the signature is refused: {error.what}", where=revision.edge, expected=error.expected, got=error.got,
                next_step=error.next_step, code="MS-2413",
            ) from error  # fmt: skip
        return author

    def check_module(self, manifest: Manifest) -> None:
        """Raise AuthError unless somebody who may vouches for a module, or nobody has to."""
        if self._pin is None:
            return
        author = self._known().author(manifest.signature, signed_manifest(manifest), manifest.time_ns, self._place)
        if author.name != manifest.author:
            raise AuthError("its author is another than who signed", expected=author.name, got=manifest.author)

    def _known(self) -> TrustChain:
        if self._chain is None:
            raise AuthError("the hub has not said yet who may sign", next_step="its trust file has to reach it")
        return self._chain
