"""Files packed by gzip (RFC 1952): unpacked once into a nameless file, bounded, and read from there as any other.

So places in a packed file are those of what is in it, and a file that is packed after a part of it was read goes on
where it was left.
"""

from __future__ import annotations

import errno
import gzip
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from millstream.connectors.files._seen import Seen

CHUNK_BYTES = 1 << 18
TRAILER_BYTES = 8  # checksum and size, RFC 1952, 2.3.1
SIZE_MODULUS = 1 << 32
LASTING = (None, errno.EILSEQ, errno.EFBIG)  # the first: what gzip itself finds wrong


class Opener:
    """Opens what was listed. Keeps the packed file that was opened last: its parts are read one after the other."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._key: tuple[int, int, int] | None = None
        self._unpacked: IO[bytes] | None = None
        self._failure: OSError | None = None
        self._is_closed = False

    @contextmanager
    def opened(self, seen: Seen) -> Iterator[IO[bytes]]:
        """The file that was listed, unpacked. Raises FileNotFoundError when its name belongs to another one by now (the
        next look finds both), OSError when it is no whole packed file or unpacks to too much."""
        if seen.is_packed:
            yield self._unpack(seen)
            return
        with opened_plain(seen) as stream:
            yield stream

    def close(self) -> None:
        """Let the unpacked file go, for good: a thread may still be unpacking another."""
        self._is_closed = True
        self._drop()

    def _drop(self) -> None:
        if self._unpacked is not None:
            self._unpacked.close()
        self._key = self._unpacked = self._failure = None

    def _unpack(self, seen: Seen) -> IO[bytes]:
        key = (seen.inode, seen.size, seen.mtime_ns)
        if key != self._key:
            self._drop()
            self._key = key
            try:
                self._unpacked = self._copied(seen)
            except OSError as error:
                if error.errno not in LASTING:
                    self._key = None
                    raise
                self._failure = error  # it stays so until the file changes
            if self._is_closed:
                self._drop()
        if self._unpacked is None:
            raise self._failure or OSError(errno.EIO, "file cannot be unpacked", str(seen.path))
        return self._unpacked

    def _copied(self, seen: Seen) -> IO[bytes]:
        made = tempfile.TemporaryFile()  # noqa: SIM115  it outlives this call
        try:
            with opened_plain(seen) as packed, gzip.GzipFile(fileobj=packed) as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    if made.tell() + len(chunk) > self._bytes_max:
                        raise OSError(errno.EFBIG, "unpacks to more than unpacked_bytes_max", str(seen.path))
                    made.write(chunk)
            made.flush()
        except (EOFError, zlib.error) as error:
            made.close()
            raise OSError(errno.EILSEQ, f"no whole gzip file: {error}", str(seen.path)) from error
        except OSError:
            made.close()
            raise
        return made


@contextmanager
def opened_plain(seen: Seen) -> Iterator[IO[bytes]]:
    """The file itself. Raises FileNotFoundError when its name belongs to another one by now."""
    with seen.path.open("rb") as stream:
        if os.fstat(stream.fileno()).st_ino != seen.inode:
            raise FileNotFoundError(errno.ENOENT, "file was renamed", str(seen.path))
        yield stream


def is_at_end(seen: Seen, offset: int) -> bool:
    """Whether a packed file ends at `offset`, by what it says of itself: nothing has to be unpacked. False when that is
    not certain. Raises OSError."""
    with opened_plain(seen) as stream:
        if seen.size < TRAILER_BYTES:
            return False
        stream.seek(seen.size - 4)
        return offset > 0 and int.from_bytes(stream.read(4), "little") == offset % SIZE_MODULUS
