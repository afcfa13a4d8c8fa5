"""Names and configurations of the streams."""

from __future__ import annotations

from typing import Any

import pytest

from millstream.bus import (
    StreamBounds,
    StreamName,
    ensure_stream,
    find_stream,
    fit_bounds,
    hub_stream,
    integrity_stream,
    is_retired,
    local_stream,
    retired_stream,
    throughput_stream,
)
from millstream.bus._streams import for_replicas
from millstream.kernel import ConfigError, NotFoundError, PlantError

_BOUNDS = StreamBounds(1000, 60.0, "block")


@pytest.mark.parametrize("text", ["E_plant7_I", "E_plant7_T_g2", "E_a_I_g2_I", "E_a_T_T_g13", "E_x_MQTT", "E_x-y_DLQ"])
def test_a_stream_name_is_taken_apart_and_put_together(text: str) -> None:
    name = StreamName.parse(text)
    assert name is not None
    assert str(name) == text


@pytest.mark.parametrize("text", ["H_INTEGRITY", "E_plant7", "E__I", "E_plant7_I_g0", "$MQTT_msgs", "E_a_X"])
def test_other_streams_are_not_an_edges(text: str) -> None:
    assert StreamName.parse(text) is None


def test_block_refuses_new_messages_and_the_others_drop_old_ones() -> None:
    assert integrity_stream("s", _BOUNDS)["discard"] == "new"
    assert integrity_stream("s", StreamBounds(1, None, "drop_oldest"))["discard"] == "old"
    assert integrity_stream("s", StreamBounds(1, None, "thin"))["discard"] == "old"


def test_buffers_keep_what_was_forwarded() -> None:
    """A hub that loses its newest data takes it again from a limits stream; a work queue would have deleted it."""
    for config in (integrity_stream("s", _BOUNDS), throughput_stream("s", _BOUNDS), hub_stream("s", _BOUNDS, [])):
        assert config["retention"] == "limits"


def test_what_is_sent_again_after_seconds_is_stored_once_where_it_is_stored_first() -> None:
    """Else the hub's stream drops the second, and the ledger sees a hole."""
    for stream in (integrity_stream("s", StreamBounds(1000)), local_stream(StreamBounds(1000))):
        assert stream["duplicate_window"] == 120 * 10**9
    assert local_stream(StreamBounds(1000, 30.0))["duplicate_window"] == 30 * 10**9  # never more than the age


def test_a_hub_stream_has_no_subjects() -> None:
    """Else a message that is also heard live would be stored twice."""
    assert "subjects" not in hub_stream("s", _BOUNDS, [])


def test_a_retired_stream_gives_up_its_subjects() -> None:
    retired = retired_stream(throughput_stream("E_e_T", _BOUNDS))
    assert is_retired(retired)
    assert "subject_transform" not in retired
    assert "republish" not in retired
    assert not is_retired(integrity_stream("E_e_I", _BOUNDS))


def test_bounds_are_reduced_in_proportion_to_the_disk() -> None:
    assert fit_bounds({"a": 100 << 20, "b": 300 << 20}, 1 << 30) == {"a": 100 << 20, "b": 300 << 20}
    assert fit_bounds({"a": 100 << 20, "b": 300 << 20}, 200 << 20) == {"a": 50 << 20, "b": 150 << 20}
    assert fit_bounds({"a": 100 << 20, "b": 300 << 20}, 0) == {"a": 16 << 20, "b": 16 << 20}


class _Api:
    """A server with one stream at most."""

    replicas = 1

    def __init__(self, config: dict[str, Any] | None, size: int = 0, error: PlantError | None = None) -> None:
        self.config = config
        self.size = size
        self.error = error
        self.calls: list[tuple[str, Any]] = []

    async def request(self, subject: str, body: object | None = None, *, timeout_s: float = 5.0) -> dict[str, Any]:
        verb = subject.split(".")[1]
        if verb == "INFO" and self.config is None:
            raise NotFoundError("no stream")
        if verb != "INFO":
            self.calls.append((verb, body))
            if self.error is not None:
                raise self.error
            self.config = dict(body)  # type: ignore[call-overload]
        state = {"messages": 1, "bytes": self.size, "first_seq": 1, "last_seq": 1}
        return {"config": self.config, "created": "", "state": state}


async def test_a_stream_is_made_once() -> None:
    api = _Api(None)
    await ensure_stream(api, integrity_stream("s", _BOUNDS))
    await ensure_stream(api, integrity_stream("s", _BOUNDS))
    assert [verb for verb, _ in api.calls] == ["CREATE"]


async def test_fields_that_the_server_adds_do_not_count_as_a_difference() -> None:
    api = _Api({**integrity_stream("s", _BOUNDS), "max_consumers": -1, "metadata": {"_nats.ver": "2.15.1"}})
    await ensure_stream(api, integrity_stream("s", _BOUNDS))
    assert api.calls == []


async def test_a_bound_is_never_lowered_below_what_the_stream_holds() -> None:
    """The server would discard the oldest messages to fit."""
    api = _Api(dict(integrity_stream("s", _BOUNDS)), size=800)
    await ensure_stream(api, integrity_stream("s", StreamBounds(100, 60.0, "block")))
    assert api.calls[0][1]["max_bytes"] == 800


async def test_a_disk_without_room_is_told_with_the_next_step() -> None:
    api = _Api(None, error=PlantError("full", got="insufficient storage resources available (10047)"))
    with pytest.raises(ConfigError) as caught:
        await ensure_stream(api, integrity_stream("s", _BOUNDS))
    assert caught.value.code == "MS-0610"
    assert caught.value.next_step


def test_replicated_streams_are_never_written_behind() -> None:
    """What a majority has acknowledged is on its disks; asynchronous writing is for single replicas only."""
    wide = for_replicas(hub_stream("s", _BOUNDS, []), 3)
    assert wide["num_replicas"] == 3
    assert "persist_mode" not in wide
    assert for_replicas(hub_stream("s", _BOUNDS, []), 1)["persist_mode"] == "async"
    assert "allow_atomic" not in wide


def test_replicated_streams_take_batches_that_fence_their_writer() -> None:
    wide = for_replicas(throughput_stream("s", _BOUNDS), 3)
    assert wide["allow_atomic"]
    assert {"allow_batched", "persist_mode"}.isdisjoint(wide)
    assert for_replicas(throughput_stream("s", _BOUNDS), 1) == throughput_stream("s", _BOUNDS)


@pytest.mark.parametrize(
    ("cluster", "led_by"),
    [
        ({}, None),  # one server
        ({"replicas": [{}], "leader": "h1-a", "leader_since": "2026-11-21T10:00:00.9Z"},
         "h1-a since 2026-11-21T10:00:00.9Z"),
        ({"replicas": [{}]}, ""),  # nobody leads
    ],
)  # fmt: skip
async def test_who_leads_a_stream_is_told_with_the_moment_when_it_began(
    cluster: dict[str, Any], led_by: str | None
) -> None:
    class Server(_Api):
        async def request(self, subject: str, body: object | None = None, *, timeout_s: float = 5.0) -> dict[str, Any]:
            raw = await super().request(subject, body, timeout_s=timeout_s)
            return {**raw, "cluster": cluster, "ts": "2026-11-21T10:00:05.2Z"}

    info = await find_stream(Server(dict(integrity_stream("s", _BOUNDS))), "s")
    assert info is not None
    assert info.led_by == led_by
