"""The file that a command has left at its edge, fetched in pieces: asked for by offset, so that it goes on after a cut.

A hub asks ``millstream.node.<edge>.command_file``; the piece comes on ``millstream.fleet.answer.<edge>.<token>``.
"""

from __future__ import annotations

import msgspec

from millstream.kernel import DecodeError
from millstream.protocols.command import is_id

PIECE_BYTES = 256 * 1024
FILE_BYTES_MAX = 64 << 20
STATUS, ERROR, SIZE = "Ms-Status", "Ms-Error", "Ms-Size"


class PieceAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The piece of a command's file that begins at `offset`."""

    token: str
    id: str
    offset: int = 0


class FileQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client asks of ``millstream.node.<hub>.command_file``: the file of a command at one node."""

    id: str
    node: str


_ask = msgspec.json.Decoder(PieceAsk)
_question = msgspec.json.Decoder(FileQuestion)


def decode_piece_ask(payload: bytes) -> PieceAsk:
    """What an edge is asked. Raises DecodeError (MS-2312)."""
    try:
        ask = _ask.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(str(error)[:120]) from error
    if not ask.token.isalnum() or not ask.token.isascii() or len(ask.token) > 32:
        raise _malformed("a token that is none")
    if not is_id(ask.id) or not 0 <= ask.offset <= FILE_BYTES_MAX:
        raise _malformed("an id or offset that is none")
    return ask


def decode_file_question(payload: bytes) -> FileQuestion:
    """What a hub is asked. Raises DecodeError (MS-2312)."""
    try:
        question = _question.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(str(error)[:120]) from error
    if not is_id(question.id):
        raise _malformed("an id that is none")
    return question


def _malformed(got: str) -> DecodeError:
    return DecodeError("question for a command's file cannot be read", got=got, code="MS-2312")
