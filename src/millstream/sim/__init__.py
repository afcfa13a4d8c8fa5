"""Simulated devices and networks, for tests, the demo and documentation."""

from millstream.sim._catalog import DEVICES, SimDevice
from millstream.sim._mischief import Kind, Mischief
from millstream.sim._proxy import Fault, FaultProxy

__all__ = ["DEVICES", "Fault", "FaultProxy", "Kind", "Mischief", "SimDevice"]
