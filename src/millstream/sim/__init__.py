"""Simulated devices and networks, for tests, the demo and documentation."""

from millstream.sim._proxy import Fault, FaultProxy

__all__ = ["Fault", "FaultProxy"]
