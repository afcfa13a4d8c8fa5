"""STATE of a host application (Sparkplug 3.0, 5.8 and 6.4.23)."""

from __future__ import annotations

import pytest

from millstream.protocols.sparkplug_state import HostState
from millstream.protocols.sparkplug_topic import State

STATE = HostState("plant1 host", 1_000)


@pytest.mark.tck(
    "tck-id-host-topic-phid-death-topic",
    "tck-id-host-topic-phid-death-qos",
    "tck-id-host-topic-phid-death-retain",
    "tck-id-host-topic-phid-death-payload",
    "tck-id-host-topic-phid-death-payload-timestamp-connect",
    "tck-id-host-topic-phid-birth-topic",
    "tck-id-host-topic-phid-birth-qos",
    "tck-id-host-topic-phid-birth-retain",
    "tck-id-host-topic-phid-birth-payload",
    "tck-id-host-topic-phid-birth-payload-timestamp",
    "tck-id-message-flow-phid-sparkplug-state-publish-payload",
    "tck-id-message-flow-phid-sparkplug-state-publish-payload-timestamp",
)
def test_will_and_birth_of_a_connection_have_one_timestamp() -> None:
    will, birth = STATE.will(), STATE.birth()
    assert will.topic == birth.topic == STATE.topic == "spBv1.0/STATE/plant1 host"
    assert (will.qos, will.is_retained, birth.qos, birth.is_retained) == (1, True, 1, True)
    assert State.decode(will.payload) == State(False, 1_000)
    assert State.decode(birth.payload) == State(True, 1_000)


@pytest.mark.tck(
    "tck-id-host-topic-phid-death-payload-timestamp-disconnect-clean",
    "tck-id-host-topic-phid-death-payload-timestamp-disconnect-with-no-disconnect-packet",
    "tck-id-operational-behavior-host-application-death-topic",
    "tck-id-operational-behavior-host-application-death-payload",
    "tck-id-operational-behavior-host-application-death-qos",
    "tck-id-operational-behavior-host-application-death-retained",
)
def test_taking_leave_has_a_timestamp_of_its_own() -> None:
    death = STATE.death(5_000)
    assert (death.topic, death.qos, death.is_retained) == (STATE.topic, 1, True)
    assert State.decode(death.payload) == State(False, 5_000)
    assert State.decode(STATE.death(10).payload).timestamp == 1_000  # a clock that was set back


@pytest.mark.tck("tck-id-message-flow-hid-sparkplug-state-message-delivered")
@pytest.mark.parametrize("raw", [State(False, 999).encode(), State(False, 9_999).encode(), b"", b"OFFLINE"])
def test_an_offline_state_that_is_delivered_to_us_is_answered_by_the_birth(raw: bytes) -> None:
    assert STATE.received(raw) == STATE.birth()


def test_our_own_birth_is_not_answered() -> None:
    assert STATE.received(STATE.birth().payload) is None
