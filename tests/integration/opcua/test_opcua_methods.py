"""Methods are called by writes to tags that are configured for it."""

from __future__ import annotations

import pytest
from opcua_kit import Process, connector_for, read_until

from millstream.model import Value
from millstream.sdk import Tag, Write

PRESSURE = Tag("pressure", "nsu=urn:counter;s=pressure", 0.05, 0.1)
METHOD = {"mode": "method"}
FILL = Tag("fill", "nsu=urn:counter;s=fill", options=METHOD)
FILL_BY_PATH = Tag("by path", "nsu=urn:counter;path=/Objects/boiler/fill", options=METHOD)
MEASURE = Tag("measure", "nsu=urn:counter;path=/Objects/boiler/measure", options=METHOD)
RESET = Tag(
    "reset", "nsu=urn:counter;s=reset", options={**METHOD, "method_object": "nsu=urn:counter;path=/Objects/boiler"}
)


@pytest.mark.needs("node-opcua")
async def test_a_write_calls_the_method_with_checked_arguments_and_its_outputs_come_back(
    counter: Process,
) -> None:

    async with connector_for(counter.endpoint).open() as session:
        (measured,) = await session.write([Write(MEASURE, 3)])
        assert measured.answer == {"mean": 0.5, "samples": [3, -1], "begun": "2026-01-02T03:04:05.678Z"}
        assert (await session.write([Write(RESET, True)]))[0].answer == {}
        assert (await session.write([Write(FILL, None)]))[0].quality.label == "BadTypeMismatch"

        async def call(tag: Tag, value: Value) -> tuple[str, str | None]:
            (result,) = await session.write([Write(tag, value)])
            return result.quality.label, result.reason

        async def pressure() -> object:
            async with connector_for(counter.endpoint).open() as other:
                samples, _ = await read_until(other, [PRESSURE, FILL], lambda s: len(s) >= 1)
            assert {sample.tag for sample in samples} == {"pressure"}  # a method is not read
            return samples[-1].value

        assert await call(FILL, [3.5, ["a", "b"]]) == ("Good", None)
        assert await pressure() == 5.5
        assert await call(FILL_BY_PATH, {"names": [], "amount": 2}) == ("Good", None)
        assert await pressure() == 2.0
        assert await call(RESET, True) == ("Good", None)
        assert await pressure() == 0.0

        assert (await call(FILL, [101.0, []]))[0] == "BadOutOfRange"
        for value, reason in (
            ([1.0], "expected a list of 2 arguments: amount, names"),
            ({"amount": 1.0}, "expected the arguments amount, names, got amount"),
            (["much", []], "argument 'amount': expected a number"),
            ([1.0, "a"], "argument 'names': expected an array"),
        ):
            label, said = await call(FILL, value)  # type: ignore[arg-type]
            assert label == "BadTypeMismatch"
            assert reason in (said or "")
        assert "takes no arguments" in ((await call(RESET, 7))[1] or "")
        missing = Tag("missing", "nsu=urn:counter;s=missing", options=METHOD)
        results = await session.write([Write(missing, True), Write(PRESSURE, 4.0), Write(RESET, [])])
        assert [result.quality.is_good for result in results] == [False, True, True]
        assert (await call(PRESSURE, True))[0] == "BadTypeMismatch"
        not_a_method = Tag("no method", PRESSURE.address, options=METHOD)
        assert (await call(not_a_method, True))[0].startswith("Bad")
