"""Gives out what commands have left at this edge, piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from millstream.bus import RawConnection
from millstream.edge._bundle import bundle_path
from millstream.edge._questions import Answer, Questions
from millstream.kernel import DecodeError, NotFoundError, PlantError
from millstream.protocols.command_file import ERROR, PIECE_BYTES, SIZE, STATUS, PieceAsk, decode_piece_ask
from millstream.protocols.nats_wire import WireMessage

WAITING_MAX = 16


class FileDesk:
    """Answers for one edge, one piece after the other."""

    def __init__(self, name: str, data_dir: Path, connection: RawConnection) -> None:
        self._data_dir = data_dir
        self._questions = Questions(connection, name, "command_file", WAITING_MAX)

    def open(self) -> Callable[[], None]:
        """Listen until the returned function is called; `run` answers."""
        return self._questions.open()

    async def run(self) -> None:
        """Answer for ever."""
        await self._questions.run(self.answer)

    async def answer(self, message: WireMessage) -> list[Answer]:
        """One piece; nothing for what is no question, since without a token there is nobody to tell."""
        try:
            ask = decode_piece_ask(message[4])
        except DecodeError:
            return []
        subject = self._questions.answer_subject(ask.token)
        try:
            payload, size = await asyncio.to_thread(self._piece, ask)
        except PlantError as error:
            text = msgspec.json.encode(error.as_dict()).decode()
            return [Answer(subject, b"", ((STATUS, "done"), (ERROR, text)))]
        status = "done" if ask.offset + len(payload) >= size else "more"
        return [Answer(subject, payload, ((STATUS, status), (SIZE, str(size))))]

    def _piece(self, ask: PieceAsk) -> tuple[bytes, int]:
        """Bytes and the size of the whole. Raises NotFoundError, PlantError."""
        path = bundle_path(self._data_dir, ask.id)
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(ask.offset)
                return file.read(PIECE_BYTES), size
        except FileNotFoundError as error:
            raise NotFoundError(
                "this command has left no file here", got=ask.id, code="MS-2312",
                next_step="the newest three are kept; ask for a new one",
            ) from error  # fmt: skip
        except OSError as error:
            raise PlantError("the file cannot be read", got=str(error.strerror).lower(), code="MS-2312") from error
