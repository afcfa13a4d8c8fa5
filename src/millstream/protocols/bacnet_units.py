"""Engineering units of BACnet (ASHRAE 135-2020, clause 21, BACnetEngineeringUnits) as pint names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

UNITS: Mapping[int, str] = MappingProxyType(
    {
        0: "m**2", 2: "mA", 3: "A", 4: "ohm", 5: "V", 6: "kV", 8: "VA", 9: "kVA", 14: "deg", 16: "J", 17: "kJ",
        18: "Wh", 19: "kWh", 20: "Btu", 27: "Hz", 29: "percent", 30: "mm", 31: "m", 32: "inch", 33: "foot",
        35: "W/m**2", 36: "lumen", 37: "lx", 39: "kg", 41: "t", 42: "kg/s", 43: "kg/min", 44: "kg/h", 47: "W",
        48: "kW", 49: "MW", 50: "Btu/h", 51: "horsepower", 53: "Pa", 54: "kPa", 55: "bar", 56: "psi",
        57: "cmH2O", 58: "inH2O", 59: "mmHg", 61: "inHg", 62: "degC", 63: "kelvin", 64: "degF", 67: "year",
        69: "week", 70: "d", 71: "h", 72: "min", 73: "s", 74: "m/s", 75: "km/h", 76: "foot/s", 77: "foot/min",
        78: "mile/h", 79: "foot**3", 80: "m**3", 82: "l", 83: "gal", 84: "foot**3/min", 85: "m**3/s", 87: "L/s",
        88: "l/min", 89: "gal/min", 90: "deg", 96: "ppm", 98: "percent", 99: "percent/s", 100: "1/min", 101: "1/s",
        103: "rad", 104: "rpm", 115: "inch**2", 116: "cm**2", 118: "cm", 121: "kelvin", 122: "kiloohm",
        123: "megaohm", 124: "mV", 125: "kJ/kg", 126: "MJ", 129: "kHz", 130: "MHz", 131: "1/h", 132: "mW",
        133: "hPa", 134: "mbar", 135: "m**3/h", 136: "l/h", 145: "milliohm", 146: "MWh", 153: "N", 154: "g/s",
        155: "g/min", 156: "t/h", 159: "ms", 160: "N*m", 161: "mm/s", 162: "mm/min", 163: "m/min", 165: "m**3/min",
        166: "m/s**2", 170: "farad", 171: "henry", 173: "siemens", 175: "tesla", 184: "rad/s", 186: "kg/m**3",
        188: "N/m", 190: "uS", 193: "km", 194: "um", 195: "g", 196: "mg", 197: "ml", 199: "dB", 202: "mS",
        210: "g/kg", 214: "g/l", 215: "mg/l", 216: "ug/l", 217: "g/m**3", 218: "mg/m**3", 219: "ug/m**3",
        221: "g/cm**3", 249: "m**3/d", 253: "Pa*s",
    }
)  # fmt: skip


def pint_unit(number: int) -> str | None:
    """The pint name of a unit; None for no unit, and for those that have no name there."""
    return UNITS.get(number)
