"""A write that somebody else was faster than is told apart, by either number that a server has for it."""

import pytest

from millstream.bus import decode_answer
from millstream.kernel import FencedError


@pytest.mark.parametrize("number", [10071, 10164])  # the second: of several servers, while another write is under way
def test_a_write_behind_another_is_fenced(number: int) -> None:
    answer = b'{"error": {"code": 400, "err_code": %d, "description": "wrong last sequence"}}' % number
    with pytest.raises(FencedError):
        decode_answer(answer, where="login.begun")
