"""Terms of the shop floor, pure: shifts and planned time, time elements and key figures after ISO 22400-2."""

from millstream.shop._calendar import WEEKDAYS, Calendar, Shift, ShiftSpan, clock, parse_clock, parse_days
from millstream.shop._oee import CATEGORIES, TOLERANCE, Category, Figures, Made, figures

__all__ = [
    "CATEGORIES",
    "TOLERANCE",
    "WEEKDAYS",
    "Calendar",
    "Category",
    "Figures",
    "Made",
    "Shift",
    "ShiftSpan",
    "clock",
    "figures",
    "parse_clock",
    "parse_days",
]
