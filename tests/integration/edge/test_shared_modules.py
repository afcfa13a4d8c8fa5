"""Modules that the boxes of a site share: whole, by digest, and safe from a box that works no longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.bus import NatsServer, ServerSettings, StreamApi
from millstream.edge._shared_modules import CHUNK_BYTES, PREFIX, STREAM, SharedModules
from millstream.kernel import DecodeError, NotFoundError, PlantError, SystemClock, Unreachable
from millstream.protocols.module import module_digest

ONE, TWO = b"x" * (2 * CHUNK_BYTES + 1), b"y"


async def test_a_turn_that_is_over_stores_nothing_more_and_removes_nothing_of_the_next(tmp_path: Path) -> None:
    one, two = module_digest(ONE), module_digest(TWO)
    async with (
        NatsServer(ServerSettings("s1"), tmp_path, clock=SystemClock()) as server,
        server.connect("first") as connection, server.connect("second") as other,
    ):  # fmt: skip
        first, api = SharedModules(connection), StreamApi(connection)
        await first.clean([])  # nothing was ever shared: nobody is asked
        await first.keep(one, ONE)
        stored = (await api.state(STREAM)).last_seq
        await first.keep(one, ONE)
        assert (await api.state(STREAM)).last_seq == stored, "it was there"
        assert await SharedModules(other).get(one) == ONE  # whoever takes over has it
        with pytest.raises(Unreachable, match="another box of the site works"):
            await first.keep(two, TWO)

        # The next turn needs the same one: it is its own from then on, whatever the one before removes.
        second = SharedModules(other)
        await second.keep(one, ONE)
        await second.keep(two, TWO)
        await first.clean([])
        assert (await second.get(one), await second.get(two)) == (ONE, TWO)
        await second.clean([two])
        assert await second.get(two) == TWO
        with pytest.raises(NotFoundError, match="do not share"):
            await second.get(one)

        # What is half removed, or changed, is no module; the next removal takes the rest.
        await second.keep(one, ONE)
        await api.request(f"STREAM.PURGE.{STREAM}", {"filter": f"{PREFIX}{one.removeprefix('sha256:')}.1"})
        with pytest.raises(NotFoundError, match="do not share"):
            await second.get(one)
        await other.request(f"{PREFIX}{two.removeprefix('sha256:')}.0", b"z")
        with pytest.raises(DecodeError, match="another module"):
            await second.get(two)
        await second.clean([two])
        found = (await api.request(f"STREAM.INFO.{STREAM}", {"subjects_filter": ">"}))["state"]["subjects"]
        assert set(found) == {f"{PREFIX}turn", *(f"{PREFIX}{two.removeprefix('sha256:')}{end}" for end in ("", ".0"))}

        # What does not fit is refused, and nothing is dropped for it.
        config = (await api.request(f"STREAM.INFO.{STREAM}"))["config"]
        await api.request(f"STREAM.UPDATE.{STREAM}", {**config, "max_bytes": CHUNK_BYTES})
        with pytest.raises(PlantError, match="no room for the module") as full:
            await second.keep(one, ONE)
        assert full.value.code == "MS-2442"
