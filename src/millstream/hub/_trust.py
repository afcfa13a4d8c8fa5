"""What the operator says, as a hub keeps it: the signed file is watched, and an older one is never taken again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from millstream.bus import write_private
from millstream.kernel import AuthError, Clock, ConfigError
from millstream.protocols.nats_jwt import format_creds
from millstream.trust import KEPT, HubTrust, read_bundle

FILE_BYTES_MAX = 32 << 20


class TrustFile:
    """The operator's signed file, and the hub's own copy of the newest that it took.

    The first file that a hub takes says who its operator is; a file of another is refused from then on. After a start
    the newest of file and copy holds, so that putting an old file back revokes nothing and lets nobody in again.
    `on_judged` hears of each file that is looked at: why it is refused, None for a good one. With `is_shared` newer
    ones come from the other members of a cluster, too (`offer`): a file that is older at the start is no surprise then.
    """

    def __init__(
        self, path: Path, data_dir: Path, clock: Clock, on_judged: Callable[[str | None], None], *,
        is_shared: bool = False,
    ) -> None:  # fmt: skip
        self._path = path
        self._kept = data_dir / "secrets" / KEPT
        self._creds_dir = data_dir / "secrets" / "tenants"
        self._clock = clock
        self._on_judged = on_judged
        self._is_shared = is_shared
        self._seen: tuple[int, int] | None = None
        self.trust: HubTrust

    @property
    def creds_dir(self) -> Path:
        """Folder of the hub's own log-ins: one file a tenant, `system` and `provider`."""
        return self._creds_dir

    def creds_file(self, name: str) -> Path:
        """The hub's log-in to one account."""
        return self._creds_dir / f"{name}.creds"

    def load(self) -> None:
        """To be called once. Raises ConfigError or AuthError when there is nothing that may be taken."""
        self._creds_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = self._read(self._kept)
        self.trust = kept[1] if kept is not None else self._first()
        if kept is not None and not (self._is_shared and self._is_older()):
            self.look()
        self._write_creds()

    def text(self) -> str:
        """What holds now, as the operator signed it: the hub's copy. Raises ConfigError."""
        kept = self._read(self._kept)
        assert kept is not None
        return kept[0]

    def offer(self, text: str) -> bool:
        """Take a newer one that another member has taken; true when it is newer. Raises AuthError."""
        trust = read_bundle(text, self._clock.now_ns() / 1e9)
        if trust.operator_public == self.trust.operator_public and trust.serial <= self.trust.serial:
            return False
        self._check(trust)
        self._take(text, trust)
        return True

    def look(self) -> bool:
        """Take a newer file; true when there is one. What may not be taken is told, and changes nothing."""
        mark = self._mark()
        if mark is None or mark == self._seen:
            return False
        self._seen = mark
        try:
            found = self._read(self._path)
            if found is None:
                return False
            text, trust = found
            self._check(trust)
        except (AuthError, ConfigError) as error:
            self._on_judged(str(error))
            return False
        self._on_judged(None)
        if trust.serial == self.trust.serial:
            return False  # one that tells other acts under this number was refused
        self._take(text, trust)
        return True

    def _is_older(self) -> bool:
        """Whether the file is the same operator's, of before; then it has been seen."""
        mark = self._mark()
        try:
            found = self._read(self._path)
        except (AuthError, ConfigError):
            return False
        if found is None or found[1].operator_public != self.trust.operator_public:
            return False
        if found[1].serial >= self.trust.serial:
            return False
        self._seen = mark
        return True

    def _first(self) -> HubTrust:
        self._seen = self._mark()
        found = self._read(self._path)
        if found is None:
            raise ConfigError(
                "no trust file", where=str(self._path), code="MS-2105",
                next_step="make it with `millstream operator init`, and give the hub its `hub.trust`",
            )  # fmt: skip
        write_private(self._kept, found[0])
        return found[1]

    def _check(self, trust: HubTrust) -> None:
        if trust.operator_public != self.trust.operator_public:
            raise AuthError(
                "the trust file is another operator's", where=str(self._path), expected=self.trust.operator_public,
                got=trust.operator_public, code="MS-2105",
                next_step=f"to change the operator of this hub, stop it and remove {self._kept}",
            )  # fmt: skip
        if trust.serial < self.trust.serial:
            raise AuthError(
                "the trust file is an older one", where=str(self._path),
                expected=f"serial {self.trust.serial} or newer",
                got=f"serial {trust.serial}", next_step="copy the operator's newest hub.trust", code="MS-2105",
            )  # fmt: skip
        if trust.serial == self.trust.serial and trust.changes != self.trust.changes:
            raise forked(str(self._path), trust.serial)

    def _take(self, text: str, trust: HubTrust) -> None:
        write_private(self._kept, text)  # before it is used: what a hub has said once, it says after a crash
        self.trust = trust
        self._write_creds()

    def _write_creds(self) -> None:
        """Those that are not there as they should be."""
        trust = self.trust
        tokens = {"system": trust.system_user_token, "provider": trust.provider_user_token}
        tokens |= {name: tenant.hub_token for name, tenant in trust.tenants.items()}
        for name, token in tokens.items():
            path, text = self.creds_file(name), format_creds(token, trust.hub_seed)
            if _text_of(path) != text:
                write_private(path, text)

    def _mark(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    def _read(self, path: Path) -> tuple[str, HubTrust] | None:
        try:
            with path.open(encoding="ascii") as file:
                text = file.read(FILE_BYTES_MAX)
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            what = "the trust file cannot be read"
            raise ConfigError(what, where=str(path), got=str(error), code="MS-2105") from error
        return text, read_bundle(text, self._clock.now_ns() / 1e9)


def forked(where: str, serial: int) -> AuthError:
    """Two copies of one key store were changed, each on its own: neither file has what the other says."""
    return AuthError(
        "the operator has signed two different files under one number", where=where, code="MS-2105",
        expected=f"the file of serial {serial} that this hub took first", got="one that tells of other acts",
        next_step="say in one key store what only the other has, and copy the hub.trust that this writes to the hub",
    )  # fmt: skip


def acts_digest(trust: HubTrust) -> str:
    """Tells two files of one serial apart."""
    return hashlib.sha256(msgspec.json.encode(trust.changes)).hexdigest()[:16]


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
