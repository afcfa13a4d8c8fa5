"""Fetches the file that a command has left at an edge, for a client: piece by piece, each asked for again when lost."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping

import msgspec

from millstream.bus import RawConnection
from millstream.historian import Reply
from millstream.hub._fleet_answers import EdgeAnswers
from millstream.kernel import NotFoundError, PlantError, Unreachable
from millstream.protocols.command_file import (
    ERROR,
    FILE_BYTES_MAX,
    STATUS,
    FileQuestion,
    PieceAsk,
    decode_file_question,
)
from millstream.protocols.nats_wire import WireMessage, parse_headers

PIECE_S = 5.0
PIECE_TRIES = 4


class CommandFiles:
    """Answers clients of one hub."""

    def __init__(
        self, connection: RawConnection, answers: EdgeAnswers, places: Callable[[], Mapping[str, str]]
    ) -> None:
        """`places` gives the path of each edge that may be asked about."""
        self._connection = connection
        self._answers = answers
        self._places = places

    async def answer(self, payload: bytes) -> AsyncGenerator[Reply, None]:
        """The pieces in order, the last with ``Ms-Status: done``."""
        try:
            question = decode_file_question(payload)
            if question.node not in self._places():
                raise NotFoundError("no such edge at this hub", got=question.node[:64], code="MS-2311")
            offset, is_over = 0, False
            while not is_over:
                message = await self._piece(question, offset)
                headers = parse_headers(message[3])
                if (text := headers.get(ERROR)) is not None:
                    yield Reply(b"", ((ERROR, text), (STATUS, "done")))
                    return
                offset += len(message[4])
                is_over = headers.get(STATUS) != "more" or not message[4]
                if offset > FILE_BYTES_MAX:
                    raise PlantError("a file without an end", where=question.node, code="MS-2312")
                yield Reply(message[4], ((STATUS, "done" if is_over else "more"),))
        except PlantError as error:
            yield Reply(b"", ((ERROR, msgspec.json.encode(error.as_dict()).decode()), (STATUS, "done")))

    async def _piece(self, question: FileQuestion, offset: int) -> WireMessage:
        for _ in range(PIECE_TRIES):
            token = secrets.token_hex(8)
            ask = PieceAsk(token, question.id, offset)
            with self._answers.expecting(token, question.node) as arrived:
                self._connection.publish(f"millstream.node.{question.node}.command_file", msgspec.json.encode(ask))
                try:
                    async with asyncio.timeout(PIECE_S):
                        return await arrived.get()
                except TimeoutError:
                    continue
        raise Unreachable("no answer in time", where=question.node, expected=f"{PIECE_S * PIECE_TRIES:g}s")
