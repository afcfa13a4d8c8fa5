"""The demo's account: the devices' own truth against what the historian answers, tag by tag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from millstream.client import Plant
from millstream.demo._account import TagAccount, account_counter, account_rows, account_waveform
from millstream.demo._plant import (
    MODBUS,
    MQTT,
    OPCUA,
    SHDR,
    SHDR_ITEMS,
    SHDR_PARTS,
    WAVEFORM,
    WAVEFORM_CHANNELS,
    sample_data,
    tag,
)

BEGIN_NS = 0
END_NS = 2**62
LIMIT = 1_000_000  # rows of one tag; the longest channel of the demo has 25,000


async def device_accounts(hub: Plant, truth: Mapping[str, Mapping[str, int]]) -> dict[str, list[TagAccount]]:
    """One account a tag, grouped by device. `truth` is what each device says it produced, by its own names."""
    opcua = [
        await _counter(hub, OPCUA.name, name, count)
        if name.startswith("counter")
        else await _rows(hub, OPCUA.name, name, count)
        for name, count in truth[OPCUA.name].items()
    ]
    seen_by_modbus = await _counter(hub, MODBUS.name, "heartbeat", truth[MODBUS.name]["heartbeat"], is_held=True)
    shdr = [
        await _counter(hub, SHDR.name, item, truth[SHDR.name].get(item, 0))
        if item == "adapter_seq"
        else await _rows(hub, SHDR.name, item, truth[SHDR.name].get(item, 0), is_any_quality=True)
        for item in SHDR_ITEMS
    ]
    mqtt = [
        await _counter(hub, MQTT.name, "count", truth[MQTT.name]["scale/count"]),
        await _rows(hub, MQTT.name, "weight", truth[MQTT.name]["scale/weight"]),
    ]
    return {
        "OPC UA press": opcua,
        "Modbus boiler": [seen_by_modbus],
        "MTConnect Mazak": shdr,
        "MQTT scale": mqtt,
        "flow: parts": [
            await _parts(hub, OPCUA.name, truth[OPCUA.name]["strokes"]),
            await _parts(hub, SHDR.name, truth[SHDR.name].get(SHDR_PARTS, 0)),
        ],
        "turning cell, 1 kHz": await _waveforms(hub),
    }


async def _values(hub: Plant, device: str, name: str, quality: str = "good") -> list[Any]:
    table = await hub.history(tag(device, name), BEGIN_NS, END_NS, limit=LIMIT, quality=quality)
    return list(table.column("value").to_pylist())


async def _counter(hub: Plant, device: str, name: str, produced: int, *, is_held: bool = False) -> TagAccount:
    values = [int(v) for v in await _values(hub, device, name) if int(v) > 0]
    if is_held:  # a polled register is read again after the device has stopped: the held last value is no sample of it
        last = next((i for i, v in enumerate(values) if v == produced), len(values))
        values = values[: last + 1]
    return account_counter(tag(device, name), produced, values)


async def _rows(hub: Plant, device: str, name: str, produced: int, *, is_any_quality: bool = False) -> TagAccount:
    values = await _values(hub, device, name, "any" if is_any_quality else "good")
    return account_rows(tag(device, name), produced, len(values))


async def _parts(hub: Plant, device: str, told: int) -> TagAccount:
    """What a flow counted, one by one; the device told its own count before the first part, too."""
    table = await hub.history(tag(device, "parts"), BEGIN_NS, END_NS, limit=LIMIT, kind="count")
    values = [int(v) for v in table.column("value").to_pylist() if v is not None and v > 0]
    return account_counter(tag(device, "parts"), max(0, told - 1), values)


async def _waveforms(hub: Plant) -> list[TagAccount]:
    accounts = []
    with np.load(sample_data("turning-cell.npz")) as recording:
        for channel in WAVEFORM_CHANNELS:
            stored = await _values(hub, WAVEFORM, channel)
            accounts.append(account_waveform(tag(WAVEFORM, channel), recording[channel].astype(float).tolist(), stored))
    return accounts
