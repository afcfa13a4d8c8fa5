"""The simulated Logix device: what clients ask for, refusals with the statuses of the documents, and hostile bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.protocols.cip_identity import LIST_IDENTITY_REQUEST, decode_identity
from millstream.protocols.cip_wire import Frame, FrameCutter, encode_reply
from millstream.protocols.logix_device import (
    ATTRIBUTE,
    ATTRIBUTES,
    CONNECTED,
    FORWARD_CLOSE,
    FORWARD_OPEN,
    LISTED,
    MULTIPLE,
    NOP,
    REGISTER,
    UNCONNECTED,
    UNCONNECTED_SEND,
    UNREGISTER,
    LogixConnection,
    LogixDevice,
    answer_datagram,
)
from millstream.protocols.logix_services import MODIFY, READ, READ_PART, WRITE, WRITE_PART
from millstream.protocols.logix_tags import BOOL, DINT, DWORD, INT, LINT, REAL, STRING, TagTable, structure

SIZE = 200
STEP = structure("Step", 0x101, [("Open", BOOL, 0), ("Time", LINT, 0), ("Small", INT, 2)])
RECIPE = structure(
    "Recipe", 0x102, [(f"Bit{n}", BOOL, 0) for n in range(9)] + [("Steps", STEP, 2), ("Name", STRING, 0)]
)


def device() -> LogixDevice:
    tags = TagTable()
    tags.add("Step", DINT, 7)
    tags.add("Level", REAL, 2.5, is_read_only=True)
    tags.add("Grid", DINT, list(range(12)), dimensions=(3, 4))
    tags.add("Long", DINT, list(range(300)), dimensions=(300,))
    tags.add("Flags", DWORD, [0, 1 << 8], dimensions=(2,))
    tags.add("Name", STRING, "kiln")
    tags.add("Running", BOOL, True)
    tags.add("Recipe", RECIPE, {"Bit0": True, "Bit8": True, "Steps": [{"Time": 5}, {"Open": True}], "Name": "x"})
    tags.add("Program:Main.Speed", REAL, 1.5)
    return LogixDevice(tags, lambda: 1_700_000_000_000_000, slot=3)


def path(*parts: str | int | tuple[int, int]) -> bytes:
    """Symbols, element numbers, and (class or instance or attribute, number) segments; with its length in words."""
    made = b""
    for part in parts:
        if isinstance(part, str):
            made += bytes([0x91, len(part)]) + part.encode() + bytes(len(part) % 2)
        elif isinstance(part, int):
            made += struct.pack("<HH", 0x29, part)
        else:
            made += struct.pack("<BBH", part[0] | 1, 0, part[1])
    return bytes([len(made) // 2]) + made


CLASS, INSTANCE, ATTRIBUTE_AT = 0x20, 0x24, 0x30
MANAGER = path((CLASS, 6), (INSTANCE, 1))
OPENING = struct.pack(
    "<BBIIHHIB3xIHIHB", 10, 14, 0, 0x77, 1, 2, 3, 3, 2_000_000, 0x4200 | SIZE, 2_000_000, 0x4200 | SIZE, 0xA3
)  # fmt: skip
ROUTE = bytes([3]) + b"\1\3" + b"\x20\2\x24\1"


class Client:
    """The other end of a connection."""

    def __init__(self, of: LogixDevice | None = None, *, is_open: bool = True) -> None:
        self.connection = LogixConnection(of or device())
        (answer,) = self.ask(Frame(REGISTER, b"\1\0\0\0"))
        self.session, self.link = answer.session, 0
        if is_open:
            reply = self.outside(bytes([FORWARD_OPEN]) + MANAGER + OPENING + ROUTE)
            assert reply[:4] == bytes([FORWARD_OPEN | 0x80, 0, 0, 0])
            self.link = struct.unpack_from("<I", reply, 4)[0]

    def ask(self, frame: Frame) -> list[Frame]:
        return list(FrameCutter().feed(self.connection.receive(frame.encode())))

    def outside(self, message: bytes) -> bytes:
        """A message without a connection."""
        data = struct.pack("<IHHHHHH", 0, 0, 2, 0, 0, 0xB2, len(message)) + message
        (answer,) = self.ask(Frame(UNCONNECTED, data, self.session))
        return answer.data[16:]

    def inside(self, message: bytes) -> bytes:
        """Over the connection."""
        data = struct.pack("<IHHHHIHHH", 0, 0, 2, 0xA1, 4, self.link, 0xB1, len(message) + 2, 9) + message
        (answer,) = self.ask(Frame(CONNECTED, data, self.session))
        assert struct.unpack_from("<IH", answer.data, 12) == (0x77, 0xB1)
        assert answer.data[20:22] == b"\x09\0"
        assert len(answer.data) - 22 <= SIZE - 2
        return answer.data[22:]

    def read(self, *parts: str | int | tuple[int, int], count: int = 1) -> bytes:
        return self.inside(bytes([READ]) + path(*parts) + struct.pack("<H", count))


def status(reply: bytes) -> tuple[int, ...]:
    """General and extended."""
    return (reply[2], *struct.unpack_from(f"<{reply[3]}H", reply, 4))


OK = b"\xcc\0\0\0"


def test_elements_members_bits_and_programs_are_found_by_their_symbols() -> None:
    client = Client()
    assert client.read("step") == OK + struct.pack("<Hi", 0xC4, 7)
    assert client.read("Grid", 1, 2, count=3) == OK + struct.pack("<H3i", 0xC4, 6, 7, 8)
    assert client.read("Recipe", "Bit8") == OK + b"\xc1\0\1"
    assert client.read("Recipe", "Bit1") == OK + b"\xc1\0\0"
    assert client.read("Recipe", "Steps", 0, "Time") == OK + struct.pack("<Hq", 0xC5, 5)
    assert client.read("Recipe", "Steps", 1, "Open") == OK + b"\xc1\0\1"
    assert client.read("Program:Main", "Speed") == OK + struct.pack("<Hf", 0xCA, 1.5)
    assert client.read("Recipe", "Name")[:8] == OK + struct.pack("<HH", 0x02A0, 0x0FCE)
    assert client.read((CLASS, 0x6B), (INSTANCE, 1)) == client.read("Step")
    assert client.read((CLASS, 0x6B), (INSTANCE, 8), "Steps", 0, "Time") == client.read("Recipe", "Steps", 0, "Time")


@pytest.mark.parametrize(
    ("parts", "count", "expected"),
    [
        (("Nope",), 1, (5,)), (("Program:Main",), 1, (5,)), (("Program:No", "Speed"), 1, (5,)),
        (("Recipe", "Nope"), 1, (5,)), (("Recipe", "ZZZZZZZZZZRecipe0"), 1, (5,)), (("Step", "Low"), 1, (5,)),
        (("Grid", 3, 0), 1, (0xFF, 0x2105)), (("Grid", 1), 1, (4,)), (("Step",), 2, (0xFF, 0x2105)),
        (("Step",), 0, (0xFF, 0x2105)), (((CLASS, 0x6B), (INSTANCE, 99)), 1, (5,)), (((CLASS, 9),), 1, (0x16,)),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused(
    parts: tuple[str | int | tuple[int, int], ...], count: int, expected: object
) -> None:
    assert status(Client().read(*parts, count=count)) == expected


def test_a_long_array_comes_in_parts_that_fit_the_connection() -> None:
    client, found = Client(), b""
    reply = client.read("Long", count=300)
    while reply[2] == 6:
        found += reply[6:]
        reply = client.inside(bytes([READ_PART]) + path("Long") + struct.pack("<HI", 300, len(found)))
    assert status(reply) == (0,)
    assert found + reply[6:] == struct.pack("<300i", *range(300))
    beyond = client.inside(bytes([READ_PART]) + path("Long") + struct.pack("<HI", 300, 1200))
    assert status(beyond) == (0xFF, 0x2105)


def test_writes_are_checked_before_anything_is_kept() -> None:
    of = device()
    client = Client(of)

    def write(name: str, data: bytes, service: int = WRITE) -> tuple[int, ...]:
        return status(client.inside(bytes([service]) + path(name) + data))

    assert write("Step", struct.pack("<HHi", 0xC4, 1, 9)) == (0,)
    assert client.read("Step")[6:] == struct.pack("<i", 9)
    assert write("Step", struct.pack("<HHf", 0xCA, 1, 9)) == (0xFF, 0x2107)
    assert write("Step", struct.pack("<HHh", 0xC4, 1, 9)) == (0x13,)
    assert write("Step", struct.pack("<HHii", 0xC4, 2, 9, 9)) == (0xFF, 0x2105)
    assert write("Level", struct.pack("<HHf", 0xCA, 1, 9)) == (0x0F,)
    assert write("Long", struct.pack("<HHI2i", 0xC4, 300, 1196, 1, 2), WRITE_PART) == (0x15,)
    assert write("Long", struct.pack("<HHIi", 0xC4, 300, 1196, 5), WRITE_PART) == (0,)
    assert write("Step", struct.pack("<HII", 4, 0b110, 0xFFFFFFFE), MODIFY) == (0,)
    assert client.read("Step")[6:] == struct.pack("<i", 0b1110)
    assert write("Step", struct.pack("<HQQ", 8, 1, 1), MODIFY) == (0xFF, 0x2107)
    assert status(client.inside(bytes([WRITE]) + path("Recipe", "Bit8") + b"\xc1\0\1\0\0")) == (0,)
    assert client.read("Recipe", "Bit8") == OK + b"\xc1\0\0"
    assert client.read("Long", 299) == OK + struct.pack("<Hi", 0xC4, 5)


def test_many_in_one_message_each_with_its_own_status_and_none_inside_another() -> None:
    client = Client()
    read = [bytes([READ]) + path(name) + b"\1\0" for name in ("Step", "Nope", "Level")]
    inner = bytes([MULTIPLE]) + path((CLASS, 2), (INSTANCE, 1)) + b"\0\0"

    def many(messages: list[bytes]) -> bytes:
        at = 2 + 2 * len(messages)
        places = [at + sum(map(len, messages[:n])) for n in range(len(messages))]
        data = struct.pack(f"<H{len(places)}H", len(places), *places) + b"".join(messages)
        return client.inside(bytes([MULTIPLE]) + path((CLASS, 2), (INSTANCE, 1)) + data)

    reply = many([*read, inner])
    assert status(reply) == (0x1E,)
    places = struct.unpack_from("<4H", reply, 6)
    assert [reply[4 + at + 2] for at in places] == [0, 5, 0, 8]
    assert reply[4 + places[2] :][:10] == OK + struct.pack("<Hf", 0xCA, 2.5)
    assert status(many(read[:1])) == (0,)
    full = many([bytes([READ]) + path("Name") + b"\1\0"] * 4)  # 88 bytes each; three are too many
    statuses = [full[4 + at + 2] for at in struct.unpack_from("<4H", full, 6)]
    assert statuses[0] == 0
    assert statuses[-1] in (6, 0x11)


def test_tags_and_templates_are_listed_in_parts() -> None:
    client, names, start = Client(), [], 0
    while True:
        asked = struct.pack("<HHH", 2, 1, 2)
        reply = client.inside(bytes([LISTED]) + path((CLASS, 0x6B), (INSTANCE, start)) + asked)
        assert reply[2] in (0, 6)
        at = 4
        while at < len(reply):
            start, length = struct.unpack_from("<IH", reply, at)
            names.append(reply[at + 6 : at + 6 + length].decode())
            at += 8 + length
        start += 1
        if not reply[2]:
            break
    assert names == ["Step", "Level", "Grid", "Long", "Flags", "Name", "Running", "Recipe", "Program:Main"]
    asked = struct.pack("<HHHH", 3, 4, 5, 99)
    reply = client.inside(bytes([ATTRIBUTES]) + path((CLASS, 0x6C), (INSTANCE, 0x102)) + asked)
    assert status(reply) == (0x0A,)
    words, size = struct.unpack_from("<I", reply, 10)[0], struct.unpack_from("<I", reply, 18)[0]
    assert struct.unpack_from("<HH", reply, 22) == (99, 0x14)
    assert size == RECIPE.size
    whole = b""
    while len(whole) < words * 4 - 20:
        asked = struct.pack("<IH", len(whole), words * 4 - 20 - len(whole))
        reply = client.inside(bytes([READ]) + path((CLASS, 0x6C), (INSTANCE, 0x102)) + asked)
        assert reply[2] in (0, 6)
        whole += reply[4:]
    assert whole == RECIPE.definition()


def test_structures_are_laid_out_with_packed_bits_and_aligned_members() -> None:
    places = {member.name: (member.offset, member.bit) for member in RECIPE.members}
    assert (places["Bit0"], places["Bit7"], places["Bit8"]) == ((0, 0), (0, 7), (1, 0))
    assert places["Steps"] == (8, None)  # eight bytes, as its LINT wants
    assert {member.name: member.offset for member in STEP.members if not member.is_hidden} == {
        "Open": 0, "Time": 8, "Small": 16,
    }  # fmt: skip
    assert STEP.size == 24
    assert STRING.size == 88


def test_who_it_is_by_tcp_and_udp_and_its_clock_and_name() -> None:
    of = device()
    client = Client(of)
    for answer in (client.connection.receive(LIST_IDENTITY_REQUEST), answer_datagram(of, LIST_IDENTITY_REQUEST)):
        identity = decode_identity(answer)
        assert (identity.vendor_id, identity.device_type, identity.revision) == (1, 14, "32.011")
    attribute = bytes([ATTRIBUTE]) + path((CLASS, 1), (INSTANCE, 1), (ATTRIBUTE_AT, 5))
    assert client.inside(attribute) == b"\x8e\0\0\0\x60\x31"
    assert status(client.inside(bytes([ATTRIBUTE]) + path((CLASS, 1), (INSTANCE, 1), (ATTRIBUTE_AT, 77)))) == (0x14,)
    clock = client.inside(bytes([ATTRIBUTES]) + path((CLASS, 0x8B), (INSTANCE, 1)) + b"\1\0\x0b\0")
    assert struct.unpack_from("<Q", clock, 10)[0] == 1_700_000_000_000_000
    assert client.inside(b"\1" + path((CLASS, 0x64), (INSTANCE, 1))) == b"\x81\0\0\0" + b"\x09\0Simulated"
    assert answer_datagram(of, Frame(UNREGISTER, b"").encode()) == b""


def test_connections_are_refused_with_the_reason() -> None:
    client = Client(is_open=False)

    def opening(serial: int = 1, size: int = SIZE, route: bytes = ROUTE) -> tuple[int, ...]:
        data = struct.pack("<BBIIHHIB3xIHIHB", 10, 14, 0, 5, serial, 2, 3, 3, 1, size, 1, size, 0xA3)
        return status(client.outside(bytes([FORWARD_OPEN]) + MANAGER + data + route))

    closing = bytes([FORWARD_CLOSE]) + MANAGER + struct.pack("<BBHHI", 10, 14, 1, 2, 3)
    assert status(client.outside(closing)) == (1, 0x0107)
    assert opening() == (0,)
    assert opening() == (1, 0x0100)
    assert opening(2, size=20) == (1, 0x0109, 4002)
    assert opening(2, route=b"\3\1\5\x20\2\x24\1") == (1, 0x0312)
    assert opening(2, route=b"\3\2\3\x20\2\x24\1") == (1, 0x0311)
    assert opening(2, route=b"\2\x20\2\x24\1") == (0,)
    assert [opening(serial) for serial in range(3, 34)][-2:] == [(0,), (1, 0x0113)]
    assert status(client.outside(closing)) == (0,)
    read = bytes([READ]) + path("Step") + b"\1\0"
    sent = bytes([UNCONNECTED_SEND]) + MANAGER + struct.pack("<BBH", 10, 14, len(read)) + read
    assert client.outside(sent + b"\1\0\1\3") == OK + struct.pack("<Hi", 0xC4, 7)
    assert status(client.outside(sent + b"\1\0\1\4")) == (1, 0x0312)
    assert status(client.outside(sent)) == (0x13,)


def test_a_session_is_asked_for_first_and_ends_the_connection() -> None:
    connection = LogixConnection(device())
    refused = {
        (UNCONNECTED, b""): 0x64, (0x99, b""): 1, (REGISTER, b"\2\0\0\0"): 0x69, (REGISTER, b""): 3,
    }  # fmt: skip
    for (command, data), expected in refused.items():
        (answer,) = FrameCutter().feed(connection.receive(Frame(command, data, context=b"12345678").encode()))
        assert (answer.status, answer.context) == (expected, b"12345678")
    assert connection.receive(Frame(NOP, b"x").encode()) == b""
    client = Client(is_open=False)
    assert client.ask(Frame(CONNECTED, bytes(22), client.session))[0].status == 3
    assert not client.connection.is_over
    assert client.ask(Frame(UNREGISTER, b"", client.session)) == []
    assert client.connection.is_over


def test_frames_are_cut_out_of_any_pieces() -> None:
    whole = Frame(REGISTER, b"\1\0\0\0").encode() + LIST_IDENTITY_REQUEST
    connection, answers = LogixConnection(device()), b""
    for n in range(len(whole)):
        answers += connection.receive(whole[n : n + 1])
    assert [frame.command for frame in FrameCutter().feed(answers)] == [REGISTER, 0x63]


def frames_in(answer: bytes) -> Iterator[Frame]:
    """Whole frames and nothing else."""
    found = list(FrameCutter().feed(answer))
    assert sum(24 + len(frame.data) for frame in found) == len(answer)
    yield from found


SERVICES = st.sampled_from([1, 3, 0x0A, 0x0E, 0x4C, 0x4D, 0x4E, 0x52, 0x53, 0x54, 0x55, 0x5B]) | st.integers(0, 127)
NUMBERS = st.sampled_from([0, 1, 2, 6, 0x64, 0x6B, 0x6C, 0x8B, 0x102])
PATHS = st.lists(
    st.sampled_from(["Step", "Grid", "Recipe", "Steps", "Bit8", "Name", "Program:Main", "Speed", "Flags"])
    | st.integers(0, 5)
    | st.tuples(st.sampled_from([CLASS, INSTANCE, ATTRIBUTE_AT]), NUMBERS),
    max_size=5,
).map(lambda parts: path(*parts)) | st.binary(max_size=12)  # fmt: skip
DATA = st.binary(max_size=40) | st.builds(
    lambda code, count, rest: struct.pack("<HH", code, count) + rest,
    st.sampled_from([0xC4, 0xCA, 0xC1, 0xD3, 0x02A0, 1, 2]), st.integers(0, 400), st.binary(max_size=40),
)  # fmt: skip
MESSAGES = st.builds(lambda service, way, data: bytes([service]) + way + data, SERVICES, PATHS, DATA)


@settings(max_examples=250, deadline=None)
@given(st.lists(MESSAGES, min_size=1, max_size=4))
def test_any_message_is_answered_with_a_status_within_the_connection(messages: list[bytes]) -> None:
    of = device()
    held = [of.tags.find([(name, ())]).tag for name in ("Step", "Grid", "Recipe", "Name")]
    sizes = [len(tag.data) for tag in held]
    client = Client(of)
    for message in messages:
        for reply in (client.inside(message), client.outside(message)):
            assert len(reply) >= 4
            assert reply[0] == message[0] | 0x80
            assert len(reply) >= 4 + 2 * reply[3]
    places = b"".join(struct.pack("<H", 2 + 2 * len(messages)) for _ in messages)
    data = struct.pack("<H", len(messages)) + places + messages[0]
    assert client.inside(bytes([MULTIPLE]) + path((CLASS, 2), (INSTANCE, 1)) + data)[0] == MULTIPLE | 0x80
    assert sizes == [len(tag.data) for tag in held]
    assert client.read("Level") == OK + struct.pack("<Hf", 0xCA, 2.5)


@settings(max_examples=250, deadline=None)
@given(st.lists(st.binary(max_size=80) | st.builds(
    lambda command, data, session: Frame(command, data, session).encode(),
    st.sampled_from([0, 4, 0x63, 0x64, 0x65, 0x66, 0x6F, 0x70, 0x1234]), st.binary(max_size=60), st.integers(0, 3),
), max_size=5))  # fmt: skip
def test_any_bytes_are_answered_with_whole_frames_or_not_at_all(pieces: list[bytes]) -> None:
    connection = LogixConnection(device())
    for piece in pieces:
        for frame in frames_in(connection.receive(piece)):
            assert frame.status in (0, 1, 3, 0x64, 0x69)
        assert isinstance(answer_datagram(device(), piece), bytes)


def test_a_table_that_is_full_and_values_that_do_not_fit_are_refused() -> None:
    tags = TagTable()
    with pytest.raises(ValueError, match="no room"):
        tags.add("Huge", DINT, dimensions=(1000, 1000))
    tag = tags.add("Two", DINT, dimensions=(2,))
    with pytest.raises(ValueError, match="no element"):
        tag.set([1, 2], 1)
    with pytest.raises(TypeError):
        tags.add("Bad", RECIPE, 5)
    assert tags.get("TWO") is tag
    assert encode_reply(READ, status=5) == b"\xcc\0\5\0"
