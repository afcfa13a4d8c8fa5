"""Where somebody asks who is bounded to paths: below each of them, never anywhere else."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.bus._link import Link
from millstream.protocols.below import below_subject


def places_asked(link: Link) -> Sequence[str]:
    """The places that this log-in is bounded to, without those that lie below another; none for who is not bounded."""
    places = sorted(set(link.places))
    return [one for one in places if not any(one.startswith(f"{other}.") for other in places)]


def subjects_below(link: Link, what: str) -> Sequence[str]:
    """Where it asks for something; none for who is not bounded."""
    return [below_subject(what, place) for place in places_asked(link)]
