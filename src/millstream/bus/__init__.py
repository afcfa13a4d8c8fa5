"""The data plane on JetStream, behind the ports of ``millstream.sdk``, with an in-memory twin."""

from millstream.bus._memory import MemoryPublisher, MemoryReader, MemoryStream

__all__ = ["MemoryPublisher", "MemoryReader", "MemoryStream"]
