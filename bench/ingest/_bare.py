"""The bare protocol loop: a blocking socket, prepared bytes, the same server operation, nothing else."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable

BATCH = 1000
WINDOW = 4000
FLOW = 500


class BareLoop:
    """One connection. Each method returns wall and CPU seconds; preparing the bytes is not timed."""

    def __init__(self, host: str, port: int, stream: str, subject: str) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._taken: list[tuple[str, bytes, int, int]] = []
        self._decode: Callable[[bytes], object] | None = None
        self._stream = stream
        self._subject = subject.encode()
        self._socket.sendall(
            b'CONNECT {"verbose":false,"headers":true,"no_responders":true,"protocol":1}\r\nSUB in.> 1\r\nPING\r\n'
        )
        while b"PONG" not in self._buffer:
            self._buffer += self._socket.recv(65536)
        self._buffer = b""

    def integrity(self, count: int, payload: bytes) -> tuple[float, float]:
        """Atomic batches of 1,000, one in flight."""
        batches = [self._atomic(number, payload) for number in range(count // BATCH)]
        wall, cpu = time.perf_counter(), time.process_time()
        for data in batches:
            self._socket.sendall(data)
            while b"\r\n" not in self._buffer or b'"count":1000' not in self._buffer:
                self._buffer += self._socket.recv(65536)
                assert b"error" not in self._buffer, self._buffer
            self._buffer = b""
        return time.perf_counter() - wall, time.process_time() - cpu

    def _atomic(self, number: int, payload: bytes) -> bytes:
        out = []
        for n in range(1, BATCH + 1):
            commit = b"Nats-Batch-Commit: 1\r\n" if n == BATCH else b""
            head = b"NATS/1.0\r\nNats-Batch-Id: bare-%06d\r\nNats-Batch-Sequence: %d\r\n%b\r\n" % (number, n, commit)
            reply = b"in.commit" if commit else b""
            out.append(
                b"HPUB %b %b %d %d\r\n%b%b\r\n"
                % (self._subject, reply, len(head), len(head) + len(payload), head, payload)
            )
        return b"".join(out)

    def throughput(self, count: int, payload: bytes) -> tuple[float, float]:
        """Fast ingest in one batch, window 4,000."""
        chunks = [self._appends(start, count, payload) for start in range(1, count + 1, FLOW)]
        wall, cpu = time.perf_counter(), time.process_time()
        acked = sent = 0
        for data in chunks:
            while sent - acked > WINDOW - FLOW:
                acked = self._acks(acked)
            self._socket.sendall(data)
            sent += FLOW
        while acked < count:
            acked = self._acks(acked)
        return time.perf_counter() - wall, time.process_time() - cpu

    def _appends(self, start: int, count: int, payload: bytes) -> bytes:
        return b"".join(
            b"PUB %b in.f.bare.%d.fail.%d.%d.$FI %d\r\n%b\r\n"
            % (self._subject, FLOW, n, 0 if n == 1 else 2 if n == count else 1, len(payload), payload)
            for n in range(start, start + FLOW)
        )

    def _acks(self, acked: int) -> int:
        self._buffer += self._socket.recv(65536)
        assert b'"err' not in self._buffer, self._buffer
        found = re.findall(rb'"type":"ack","seq":(\d+)|"count":(\d+)}', self._buffer)
        self._buffer = self._buffer[-200:]
        return max([acked, *(int(a or b) for a, b in found)])

    def read(self, count: int, payload: bytes, decode: Callable[[bytes], object] | None = None) -> tuple[float, float]:
        """A pull consumer without acks, two pulls of 1,000 open; each message becomes (subject, payload, seq, time),
        and with `decode` each payload is decoded too."""
        self._decode = decode
        name = f"bare{os.getpid()}x{time.monotonic_ns()}"
        config = {
            "stream_name": self._stream,
            "config": {"name": name, "deliver_policy": "all", "ack_policy": "none", "mem_storage": True},
        }
        body = json.dumps(config).encode()
        self._socket.sendall(
            b"PUB $JS.API.CONSUMER.CREATE.%b.%b in.c %d\r\n%b\r\n"
            % (self._stream.encode(), name.encode(), len(body), body)
        )
        while b"\r\n" not in self._buffer.partition(b"\r\n")[2]:
            self._buffer += self._socket.recv(65536)
        self._buffer = b""
        pull = b'{"batch":1000,"expires":30000000000}'
        ask = b"PUB $JS.API.CONSUMER.MSG.NEXT.%b.%b in.p %d\r\n%b\r\n" % (
            self._stream.encode(), name.encode(), len(pull), pull,
        )  # fmt: skip
        wall, cpu = time.perf_counter(), time.process_time()
        self._socket.sendall(ask * 2)
        have = asked = 0
        while have < count:
            have += self._messages()
            while have - asked >= 1000:
                asked += 1000
                self._socket.sendall(ask)
        return time.perf_counter() - wall, time.process_time() - cpu

    def _messages(self) -> int:
        data = self._buffer + self._socket.recv(262144)
        at = 0
        while True:
            end = data.find(b"\r\n", at)
            if end < 0:
                break
            parts = data[at:end].split(b" ")
            if parts[0] == b"PING":
                self._socket.sendall(b"PONG\r\n")
                at = end + 2
                continue
            stop = end + 2 + int(parts[-1])
            if stop + 2 > len(data):
                break
            begin = end + 2 + (int(parts[4]) if parts[0] == b"HMSG" else 0)
            tokens = parts[3].split(b".")
            self._taken.append((parts[1].decode(), data[begin:stop], int(tokens[5]), int(tokens[7])))
            at = stop + 2
        self._buffer = data[at:]
        if self._decode is not None:
            for _, payload, _, _ in self._taken:
                if payload.startswith(b'{"timestamp_ms"'):  # a record is none
                    self._decode(payload)
        found = len(self._taken)
        self._taken.clear()
        return found
