"""STATE of a host application over one connection (Sparkplug 3.0, 5.8, 6.4.23 to 6.4.25). Pure.

The will of a CONNECT and the birth after it have one timestamp; who takes leave says so with a new one.
"""

from __future__ import annotations

from millstream.kernel import DecodeError
from millstream.protocols.mqtt_publish import Publish
from millstream.protocols.sparkplug_topic import State, StateTopic


class HostState:
    """The STATE of one connection, made anew for each CONNECT."""

    def __init__(self, host_id: str, connected_ms: int) -> None:
        self._topic = StateTopic(host_id).text
        self._connected_ms = connected_ms

    @property
    def topic(self) -> str:
        """To subscribe to, before the birth is published."""
        return self._topic

    def will(self) -> Publish:
        """For the CONNECT."""
        return self._message(False, self._connected_ms)

    def birth(self) -> Publish:
        """Once the subscriptions stand."""
        return self._message(True, self._connected_ms)

    def death(self, now_ms: int) -> Publish:
        """Before DISCONNECT, or before the socket is closed without one."""
        return self._message(False, max(now_ms, self._connected_ms))

    def received(self, raw: bytes) -> Publish | None:
        """What to publish when this came on our own topic: the will of an older connection is answered by the birth."""
        try:
            is_online = State.decode(raw).online
        except DecodeError:
            is_online = False  # cleared or spoilt: nodes that come now would not know us
        return None if is_online else self.birth()

    def _message(self, is_online: bool, time_ms: int) -> Publish:
        return Publish(self._topic, State(is_online, time_ms).encode(), qos=1, is_retained=True)
