"""The TLS files of a supervised server: what a person put down, the copies in use, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from millstream.bus._server_config import ServerSettings
from millstream.kernel import Clock
from millstream.sdk import TlsFiles

LOOK_INTERVAL_S = 1.0
JUDGE_LOOKS = 60  # each of so many looks compares the clock with what has not changed


class ServerCertificates:
    """Of the listeners and of the link to the hub; each is there when the settings have it. `cryptography` is needed
    then only."""

    def __init__(self, settings: ServerSettings, folder: Path, clock: Clock) -> None:
        from millstream.tls import KeptFiles

        self._listeners: KeptFiles | None = None
        self._uplink: KeptFiles | None = None
        self._name: str | None = None
        if settings.tls is not None:
            self._listeners = KeptFiles(settings.tls.files, folder / "tls", clock, names=settings.tls.names)
        remote = settings.leaf_remote
        if remote is not None and remote.tls is not None:
            self._uplink = KeptFiles(remote.tls, folder / "uplink", clock, is_server=False)

    @classmethod
    def needed(cls, settings: ServerSettings, folder: Path, clock: Clock) -> ServerCertificates | None:
        """None when these settings have no TLS files."""
        remote = settings.leaf_remote
        if settings.tls is None and (remote is None or remote.tls is None):
            return None
        return cls(settings, folder, clock)

    def open(self) -> None:
        """To be called once, before the server starts. Raises ConfigError."""
        for kept in (self._listeners, self._uplink):
            if kept is not None:
                kept.open()
        self._note_name()

    def applied(self, settings: ServerSettings) -> ServerSettings:
        """The same with the copies in the place of a person's files."""
        tls, remote = settings.tls, settings.leaf_remote
        if tls is not None and self._listeners is not None:
            settings = replace(settings, tls=replace(tls, files=self._listeners.in_use))
        if remote is not None and self._uplink is not None:
            settings = replace(settings, leaf_remote=replace(remote, tls=self._uplink.in_use))
        return settings

    @property
    def client(self) -> TlsFiles | None:
        """What the node's own clients check its server against, and show it; None when the listeners are open."""
        if self._listeners is None:
            return None
        return replace(self._listeners.in_use, server_name=self._name)

    def look(self) -> bool:
        """Take what is new; true when something was. Reads and writes files."""
        taken = [kept.look() for kept in (self._listeners, self._uplink) if kept is not None]
        self._note_name()
        return any(taken)

    @property
    def has_news(self) -> bool:
        """True when `alarms` may have changed since it was asked, other than by time."""
        return any(kept.has_news for kept in (self._listeners, self._uplink) if kept is not None)

    def alarms(self) -> Mapping[str, str]:
        """Code -> what a person should know. Reads files."""
        found: dict[str, str] = {}
        for kept in (self._listeners, self._uplink):
            for fault in kept.faults() if kept is not None else ():
                found[fault.code] = f"{found[fault.code]}; {fault}" if fault.code in found else str(fault)
        return found

    def _note_name(self) -> None:
        """The node's own clients dial loopback, which need not stand in the certificate: any name in it proves as
        much."""
        if self._listeners is not None:
            names = self._listeners.facts().names
            self._name = names[0].replace("*", "node", 1) if names else None
