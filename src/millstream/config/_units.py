"""Units of measurement: known when pint knows them. pint takes most of a second to load, so usual ones are listed."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from millstream.kernel import suggest

_USUAL = """
    % 1/min 1/s A A*h Ah Hz K L L/h L/min L/s MHz MPa MW MWh Mbit/s N N*m N/m N/mm Nm Pa V VA W Wh bar bit byte cm
    cm**2 cm**3 count d deg deg/s degC degF dB dimensionless g g/cm**3 g/min gal gal/min h hPa hour inch J K/min
    kA kHz kJ kN kN*m kPa kV kVA kW kWh kelvin kg kg/h kg/m**3 kg/s kmol km km/h l l/h l/min lb lx m m**2 m**3
    m**3/h m**3/min m**3/s m/min m/s m/s**2 mA mL mN mPa*s mV mW mbar mg mg/L mg/l millibar min minute ml mm mm**2
    mm**3 mm/min mm/s mm/s**2 mol ms mS/cm um us ohm percent ppm psi rad rad/s revolution rpm s second t t/h tonne
    turn uA uS/cm uV volt watt
"""
USUAL_UNITS = frozenset(_USUAL.split())
_BY_LOWER = {unit.lower(): unit for unit in sorted(USUAL_UNITS, reverse=True)}
UNIT_LENGTH_MAX = 64  # pint parses it as an expression
_HUGE_POWER = re.compile(r"[0-9)]\s*(?:\*\*|\^)|(?:\*\*|\^)\s*[-+(]*\s*[0-9.]{2}")  # pint would compute it


@cache
def _registry() -> Any:
    import pint  # loaded only for a unit that is not usual

    return pint.UnitRegistry(cache_folder=None)


@cache
def unit_problem(unit: str) -> str | None:
    """What is wrong with `unit`, with a suggestion, or None when it is known."""
    if unit in USUAL_UNITS:
        return None
    if len(unit) > UNIT_LENGTH_MAX or _HUGE_POWER.search(unit):
        return f"unit {unit[:UNIT_LENGTH_MAX]!r} is not known"
    try:
        _registry().parse_units(unit)
    except Exception:  # noqa: BLE001 - a third-party parser of expressions raises many things for what is no unit
        near = _BY_LOWER.get(unit.lower()) or suggest(unit, USUAL_UNITS)
        return f"unit {unit!r} is not known" + (f", did you mean {near!r}?" if near else "")
    return None
