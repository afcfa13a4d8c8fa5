"""ClickHouse's own engine (chDB) behind its HTTP protocol, as far as clients need it: ``chdb_server.py PORT FOLDER
PASSWORD``. One statement at a time; the folder outlives a kill."""

from __future__ import annotations

import base64
import re
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from chdb.session import Session

# Parameters of the protocol; all others are settings of the engine.
PROTOCOL = {"query", "database", "query_id", "wait_end_of_query", "send_progress_in_http_headers",
            "http_headers_progress_interval_ms", "client_protocol_version", "session_id", "compress", "decompress",
            "enable_http_compression", "default_format", "role"}  # fmt: skip
INSERT = re.compile(rb"\s*INSERT INTO\s+(\S+)\s*(\([^)]*\))?\s*FORMAT\s+(\w+)\s*\n", re.IGNORECASE)
FORMAT = re.compile(r"\sFORMAT\s+(\w+)\s*\Z", re.IGNORECASE)
CODE = re.compile(r"Code: (\d+)")


class Engine:
    """The session, one at a time."""

    def __init__(self, folder: str) -> None:
        self._session = Session(folder)
        self._lock = threading.Lock()
        self._scratch = Path(tempfile.mkdtemp(dir=Path(folder).parent))

    def answer(self, text: bytes, settings: dict[str, str], database: str | None) -> bytes:
        """Run one statement; its answer in the format that it names. Raises RuntimeError with the engine's words."""
        with self._lock:
            if database is not None:
                self._run(f"USE `{database}`", "TSV")
            set_to = ", ".join(f"{name} = {_literal(value)}" for name, value in settings.items())
            if (insert := INSERT.match(text)) is not None:
                return self._insert(insert, text[insert.end() :], set_to)
            sql = text.decode()
            named = FORMAT.search(sql)
            if named is not None:
                sql = sql[: named.start()]
            if set_to and sql.lstrip()[:6].upper() in ("SELECT", "WITH S"):
                sql += f" SETTINGS {set_to}"
            return self._run(sql, named[1] if named else "TSV")

    def _insert(self, insert: re.Match[bytes], block: bytes, set_to: str) -> bytes:
        file = self._scratch / "block"
        file.write_bytes(block)
        table, columns, form = (part.decode() if part else "" for part in insert.groups())
        set_to = f"SETTINGS {set_to} " if set_to else ""
        return self._run(f"INSERT INTO {table} {columns} {set_to}SELECT * FROM file('{file}', {form})", "TSV")

    def _run(self, sql: str, form: str) -> bytes:
        return bytes(self._session.query(sql, form).bytes())


def _literal(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    engine: Engine
    password: str

    def do_GET(self) -> None:
        """A statement in the query, or a ping."""
        self._serve(b"")

    def do_POST(self) -> None:
        """A statement in the query, the body, or both."""
        self._serve(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _serve(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        words = dict(parse_qsl(parts.query, keep_blank_values=True))
        if parts.path == "/ping":
            return self._send(200, b"Ok.\n", {})
        given = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ") or "Og==").decode()
        if given.partition(":")[2] != self.password:
            told = (
                f"Code: 516. DB::Exception: {given.partition(':')[0]}: Authentication failed. (AUTHENTICATION_FAILED)"
            )
            return self._send(403, told.encode(), {"X-ClickHouse-Exception-Code": "516"})
        text = words["query"].encode() + b"\n" + body if "query" in words else body
        settings = {name: value for name, value in words.items() if name not in PROTOCOL}
        database = words.get("database")
        try:
            answer = self.engine.answer(text, settings, None if database == "__default__" else database)
        except RuntimeError as error:
            code = CODE.search(str(error))
            headers = {"X-ClickHouse-Exception-Code": code[1] if code else "1002"}
            return self._send(500, str(error).encode(), headers)
        return self._send(200, answer, {"X-ClickHouse-Timezone": "UTC", "X-ClickHouse-Summary": "{}"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


def main() -> None:
    """Serve until killed."""
    port, folder, password = sys.argv[1:4]
    Handler.engine, Handler.password = Engine(folder), password
    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
