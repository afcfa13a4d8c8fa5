"""node-opcua's conformance address space: every type, from a stack that this project did not write."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from opcua_kit import Process, connector_for, read_until

from millstream.model import Sample
from millstream.sdk import Tag, Write

VARIABLES_MIN = 4000
KINDS = {
    "Boolean": bool, "SByte": int, "Byte": int, "Int16": int, "UInt16": int, "Int32": int, "UInt32": int, "Int64": int,
    "UInt64": int, "Float": float, "Double": float, "String": str, "DateTime": str, "Guid": str, "ByteString": bytes,
    "XmlElement": str, "NodeId": str, "QualifiedName": str, "LocalizedText": str, "ExtensionObject": dict,
    "DataValue": dict, "DiagnosticInfo": dict, "Duration": float, "UtcTime": str, "LocaleId": str, "ImagePNG": bytes,
    "Range": dict, "EUInformation": dict,
}  # fmt: skip


@pytest.mark.needs("node-opcua")
async def test_every_variable_is_browsed_subscribed_and_mapped(conformance: Process) -> None:
    connector = connector_for(conformance.endpoint, browse_properties=True)
    async with connector.open() as session:
        found = [info async for info in session.browse()]
        assert len(found) >= VARIABLES_MIN
        assert len({info.address for info in found}) == len(found)
        tags = [Tag(info.address, info.address) for info in found]
        seen: dict[str, Sample] = {}

        def is_enough(samples: list[Sample]) -> bool:
            seen.update((sample.tag, sample) for sample in samples)
            return len(seen) == len(tags)

        await read_until(session, tags, is_enough, within_s=90)
        assert session.take_source_gaps() == 0

    quality = Counter(sample.quality.label for sample in seen.values())
    assert quality["BadNotReadable"] == 8
    assert quality["UncertainInitialValue"] >= 4
    assert quality["Good"] >= len(found) - 30
    by_type: dict[str, list[Sample]] = defaultdict(list)
    for info in found:
        if info.data_type is not None:
            by_type[info.data_type].append(seen[info.address])
    for name, kind in KINDS.items():
        scalars = [s for s in by_type[name] if s.quality.is_good and not isinstance(s.value, list)]
        assert scalars, name
        assert {type(s.value) for s in scalars} == {kind}, name
    arrays = [s for name, samples in by_type.items() if name.endswith("[]") for s in samples if s.quality.is_good]
    assert len(arrays) > 100
    assert all(isinstance(s.value, list) for s in arrays)


@pytest.mark.needs("node-opcua")
async def test_a_written_value_comes_back_in_the_type_of_the_node(conformance: Process) -> None:
    connector = connector_for(conformance.endpoint)
    base = "nsu=urn://node-opcua-simulator;s=Static_Scalar_"
    values = {
        "Boolean": True, "SByte": -128, "Byte": 255, "Int16": -32768, "UInt32": 2**32 - 1, "Int64": -(2**63),
        "UInt64": 2**64 - 1, "Double": 1.5e300, "Float": 0.5, "String": "Grüße ✓ " + "x" * 100_000,
        "ByteString": b"\0\xff", "DateTime": "2024-02-29T12:34:56.789Z", "Guid": "12345678-1234-5678-1234-567812345678",
        "LocalizedText": "warm",
    }  # fmt: skip
    tags = {name: Tag(name, base + name, 0.1, 0.1) for name in values}
    async with connector.open() as session:
        results = await session.write([Write(tags[name], value) for name, value in values.items()])
        assert [result for result in results if not result.quality.is_good] == []
        read = await session.read(list(tags.values()))
        assert [sample.value for sample in read] == list(values.values())
        assert [result.written for result in results] == list(values.values())
        samples, _ = await read_until(session, list(tags.values()), lambda s: len({x.tag for x in s}) == len(tags))
        assert {sample.tag: sample.value for sample in samples} == values
        local = await session.write([Write(tags["DateTime"], "2024-02-29T13:34:56.789+01:00")])
        assert local[0].written == values["DateTime"]  # as the server holds it, and a read shows it
        refused = await session.write(
            [
                Write(tags["Byte"], 256),
                Write(tags["Boolean"], 1),
                Write(tags["String"], b"bytes"),
                Write(tags["Int16"], [1]),
                Write(Tag("nope", "nsu=urn:nowhere;s=x"), 1),
                Write(tags["Byte"], 7),
            ]
        )
        labels = [result.quality.label for result in refused]
        assert labels == ["BadOutOfRange", *["BadTypeMismatch"] * 3, "BadNodeIdUnknown", "Good"]
        assert all(result.reason for result in refused[:-1])
