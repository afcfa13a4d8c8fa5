"""Units of measurement as devices and names write them, in pint's words; what is not sure is only a guess."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.config import unit_problem

# What devices write, without blanks and in lower case; nothing whose meaning hangs on its case (nm, mPa, mA).
_SPELLINGS = {
    "°c": "degC", "℃": "degC", "gradc": "degC", "celsius": "degC", "deg_c": "degC", "°f": "degF", "℉": "degF",
    "fahrenheit": "degF", "°": "deg", "grad": "deg", "u/min": "rpm", "umin": "rpm", "rev/min": "rpm",
    "1/min": "1/min", "min-1": "1/min", "min^-1": "1/min", "/min": "1/min", "m³": "m**3", "m3": "m**3",
    "m³/h": "m**3/h", "m3/h": "m**3/h", "m^3/h": "m**3/h", "m²": "m**2", "m2": "m**2", "m/s²": "m/s**2",
    "m/s2": "m/s**2", "m/s^2": "m/s**2", "µm": "um", "μm": "um", "ltr": "l", "liter": "l", "stk": "count",
    "pcs": "count", "pieces": "count", "stück": "count", "%rh": "percent", "%rf": "percent", "prozent": "percent",
    "sec": "s", "sek": "s", "hr": "h", "std": "h", "hz": "Hz", "khz": "kHz", "kw": "kW", "kwh": "kWh", "wh": "Wh",
    "kva": "kV*A", "va": "V*A", "var": "V*A", "kvar": "kV*A", "knm": "kN*m", "volt": "V", "ampere": "A", "amp": "A",
    "watt": "W", "kpa": "kPa", "hpa": "hPa", "kv": "kV",
}  # fmt: skip
# Last words of a name that are nothing but a unit.
_LAST_WORD = {
    "degc": "degC", "celsius": "degC", "degf": "degF", "fahrenheit": "degF", "kelvin": "kelvin", "bar": "bar",
    "mbar": "mbar", "psi": "psi", "kpa": "kPa", "mpa": "MPa", "hpa": "hPa", "rpm": "rpm", "hz": "Hz", "khz": "kHz",
    "kw": "kW", "kwh": "kWh", "mwh": "MWh", "wh": "Wh", "mm": "mm", "cm": "cm", "um": "um", "kg": "kg", "lpm": "l/min",
    "pct": "percent", "percent": "percent", "prozent": "percent", "volt": "V", "volts": "V", "mv": "mV", "kv": "kV",
    "ma": "mA", "amps": "A", "ampere": "A", "watt": "W", "watts": "W", "nm": "N*m", "kn": "kN", "ms": "ms", "sec": "s",
    "seconds": "s", "minutes": "min", "hours": "h", "m3": "m**3", "ppm": "ppm",
}  # fmt: skip
_LAST_TWO = {
    ("deg", "c"): "degC", ("grad", "c"): "degC", ("deg", "f"): "degF", ("mm", "s"): "mm/s", ("m", "s"): "m/s",
    ("mm", "min"): "mm/min", ("m", "min"): "m/min", ("l", "min"): "l/min", ("l", "h"): "l/h", ("m3", "h"): "m**3/h",
    ("kg", "h"): "kg/h", ("kg", "s"): "kg/s", ("t", "h"): "t/h", ("u", "min"): "rpm", ("1", "min"): "1/min",
}  # fmt: skip
# One letter is a unit only behind a word that it fits.
_LETTER_AFTER = {
    "c": ("degC", ("temp", "temperature", "temperatur")),
    "v": ("V", ("voltage", "spannung")),
    "a": ("A", ("current", "strom")),
    "w": ("W", ("power", "leistung")),
    "s": ("s", ("time", "duration", "zeit", "dauer")),
    "m": ("m", ("length", "distance", "laenge")),
    "t": ("t", ("weight", "mass", "gewicht")),
}
# What a word suggests; a person has to look.
_GUESSES = {
    "temp": "degC", "temperature": "degC", "temperatur": "degC", "humidity": "percent", "feuchte": "percent",
    "pressure": "bar", "druck": "bar", "frequency": "Hz", "frequenz": "Hz", "voltage": "V", "spannung": "V",
    "current": "A", "strom": "A", "power": "kW", "leistung": "kW", "energy": "kWh", "energie": "kWh", "weight": "kg",
    "gewicht": "kg", "vibration": "mm/s", "drehzahl": "rpm", "torque": "N*m", "drehmoment": "N*m",
}  # fmt: skip
NOT_A_MEASURE = {
    "state",
    "status",
    "mode",
    "alarm",
    "error",
    "count",
    "counter",
    "id",
    "number",
    "enable",
    "ok",
    "valid",
}


def unit_of_device(text: str) -> str | None:
    """The device's own unit in pint's words; None when pint does not know it (then it is only told)."""
    plain = text.strip()
    if not plain:
        return None
    for unit in (_SPELLINGS.get("".join(plain.split()).lower()), plain):
        if unit is not None and unit_problem(unit) is None:
            return unit
    return None


def unit_of_name(words: Sequence[str]) -> tuple[str | None, str | None]:
    """What the last words of a name say: a unit that is written out, and else one that is only likely."""
    if len(words) >= 3 and (unit := _LAST_TWO.get((words[-2], words[-1]))) is not None:
        return unit, None
    if len(words) >= 2:
        if (unit := _LAST_WORD.get(words[-1])) is not None:
            return unit, None
        letter = _LETTER_AFTER.get(words[-1])
        if letter is not None and words[-2] in letter[1]:
            return letter[0], None
    if not words or NOT_A_MEASURE & set(words):
        return None, None
    return None, next((_GUESSES[word] for word in reversed(words) if word in _GUESSES), None)
