"""One connection with an MQTT broker, as a client. Whoever speaks MQTT uses it; the client library is only here."""

from millstream.mqtt._config import BrokerConfig
from millstream.mqtt._link import INBOX_BYTES_MAX, INBOX_MESSAGES_MAX, BrokerLink, Incoming, Session

__all__ = [
    "INBOX_BYTES_MAX",
    "INBOX_MESSAGES_MAX",
    "BrokerConfig",
    "BrokerLink",
    "Incoming",
    "Session",
]
