"""The certificate in use: a checked copy of what a person put down, so that half of a replacement is never used."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from millstream.kernel import Clock, ConfigError, write_private
from millstream.sdk import TlsFiles
from millstream.tls._facts import CertificateFacts, read_facts, read_pem
from millstream.tls._faults import Fault, check_files

CERTIFICATE, AUTHORITIES = "server.pem", "ca.pem"
OPENINGS_MAX = 5  # of files that somebody replaces at this moment
_Mark = tuple[tuple[int, int, int] | None, ...]


class KeptFiles:
    """`source` is where a person puts certificate, key and authorities, `folder` where the copy in use lies; of a
    server that is reached by `names`, or of a client, who need not have a certificate.

    Certificate and key are one file there, replaced at once: whoever reads it gets both of one making, also a server
    that is restarted in that moment. Files that do not fit are told and not taken.
    """

    def __init__(
        self, source: TlsFiles, folder: Path, clock: Clock, *, names: Sequence[str] = (), is_server: bool = True
    ) -> None:
        self._source = source
        self._folder = folder
        self._names = names
        self._is_server = is_server
        self._clock = clock
        self._seen: _Mark = ()
        self._suspect: _Mark = ()
        self._refused: list[Fault] = []
        self.has_news = True
        """True when `faults` may have changed since it was asked, other than by time."""

    @property
    def in_use(self) -> TlsFiles:
        """The copy; `certificate` holds the key, too."""
        ca_file = self._folder / AUTHORITIES if self._source.ca_file is not None else None
        certificate = self._folder / CERTIFICATE if self._source.certificate is not None else None
        return TlsFiles(ca_file=ca_file, certificate=certificate)

    def facts(self) -> CertificateFacts:
        """Of the certificate in use. Raises ConfigError."""
        return read_facts(self._folder / CERTIFICATE)[0]

    def open(self) -> None:
        """To be called once. What lies there is taken; when it does not fit, the last copy goes on. Raises ConfigError
        when there is none."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        mark = self._mark()
        for _ in range(OPENINGS_MAX):
            fatal = self._fatal(self._source)
            if fatal or self._take():
                break
        else:
            raise ConfigError("the TLS files are being replaced", where="tls", next_step="start again", code="MS-2508")
        if fatal and self._fatal(self.in_use):
            first = fatal[0]
            raise ConfigError(first.message, where="tls", next_step=first.next_step, code=first.code)
        self._seen, self._refused = mark, fatal

    def look(self) -> bool:
        """Take what is new; true when something was. Files that do not fit count from the second look at them on: the
        first may have come between two writes."""
        mark = self._mark()
        if mark == self._seen:
            return False
        fatal = self._fatal(self._source)
        if not fatal:
            if not self._take():
                return False  # they were replaced in this moment: the next look takes them
            self._seen, self._refused, self.has_news = mark, [], True
            return True
        if mark == self._suspect:
            self._seen, self._refused, self.has_news = mark, fatal, True
        self._suspect = mark
        return False

    def faults(self) -> list[Fault]:
        """What a person should know now: new files that were not taken, and what is wrong with those in use."""
        self.has_news = False
        told = [
            Fault("MS-2508", f.key, f"new TLS files are not used: {f.message}", f.next_step) for f in self._refused[:1]
        ]
        files = self._source if not told else self.in_use
        is_server = self._is_server
        found = check_files(files, self._names, self._now_s(), is_server=is_server, is_client=not is_server)
        return [*told, *(fault for fault in found if not fault.is_fatal)]

    def _fatal(self, files: TlsFiles) -> list[Fault]:
        return [fault for fault in check_files(files, (), self._now_s(), is_server=self._is_server) if fault.is_fatal]

    def _take(self) -> bool:
        """Copy, and use the copy when it fits: what was looked at before may have changed since."""
        source, used = self._source, self.in_use
        new = TlsFiles(_beside(used.ca_file), _beside(used.certificate))
        if new.certificate is not None and source.certificate is not None:
            pair = read_pem(source.certificate)
            if source.key is not None:
                pair = pair.rstrip() + b"\n" + read_pem(source.key)
            write_private(new.certificate, pair.decode("utf-8", "replace"))
        if new.ca_file is not None and source.ca_file is not None:
            write_private(new.ca_file, read_pem(source.ca_file).decode("utf-8", "replace"))
        if self._fatal(new):
            return False
        # Authorities first: they trust the new certificate before it is shown.
        for here, there in ((new.ca_file, used.ca_file), (new.certificate, used.certificate)):
            if here is not None and there is not None:
                os.replace(here, there)
        return True

    def _mark(self) -> _Mark:
        files = (self._source.certificate, self._source.key, self._source.ca_file)
        return tuple(_mark_of(path) for path in files)

    def _now_s(self) -> float:
        return self._clock.now_ns() / 1e9


def _beside(path: Path | None) -> Path | None:
    return None if path is None else path.with_name(f"{path.name}.next")


def _mark_of(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
