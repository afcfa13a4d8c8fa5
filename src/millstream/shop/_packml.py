"""The state model of PackML (ANSI/ISA-TR88.00.02), and what other vocabularies are in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

ACTING = (
    "Clearing", "Starting", "Stopping", "Aborting", "Holding", "Unholding", "Suspending", "Unsuspending", "Resetting",
    "Completing",
)  # fmt: skip
"""States that end by themselves; a machine may be through with one before anybody has looked."""
NUMBERS: Mapping[int, str] = {
    1: "Clearing", 2: "Stopped", 3: "Starting", 4: "Idle", 5: "Suspended", 6: "Execute", 7: "Stopping", 8: "Aborting",
    9: "Aborted", 10: "Holding", 11: "Held", 12: "Unholding", 13: "Suspending", 14: "Unsuspending", 15: "Resetting",
    16: "Completing", 17: "Complete",
}  # fmt: skip
"""The tag Status.StateCurrent."""
MTCONNECT: Mapping[str, str] = {
    # A program that runs and is held, by the operator or by what has gone wrong, is still in the machine: Held. One
    # that waits for what the program itself asked for is suspended.
    "ACTIVE": "Execute", "FEED_HOLD": "Held", "INTERRUPTED": "Held", "OPTIONAL_STOP": "Suspended",
    "PROGRAM_STOPPED": "Suspended", "WAIT": "Suspended", "READY": "Idle", "PROGRAM_COMPLETED": "Complete",
    "STOPPED": "Stopped", "UNAVAILABLE": "Unknown",
}  # fmt: skip
"""Execution of MTConnect (ANSI/MTC1.4, 6.6) in states of PackML."""

_NEXT: Mapping[str, str] = {
    "Clearing": "Stopped", "Stopped": "Resetting", "Resetting": "Idle", "Idle": "Starting", "Starting": "Execute",
    "Execute": "Completing Holding Suspending", "Holding": "Held", "Held": "Unholding", "Unholding": "Execute",
    "Suspending": "Suspended", "Suspended": "Unsuspending", "Unsuspending": "Execute", "Completing": "Complete",
    "Complete": "Resetting", "Stopping": "Stopped", "Aborting": "Aborted", "Aborted": "Clearing",
}  # fmt: skip
STATES = tuple(NUMBERS.values())
_NOT_STOPPED = ("Stopping", "Stopped", "Clearing", "Aborting", "Aborted")


def _steps() -> Mapping[str, frozenset[str]]:
    found = {}
    for state in STATES:
        after = set(_NEXT[state].split())
        if state not in _NOT_STOPPED:
            after.add("Stopping")
        if state not in ("Aborting", "Aborted"):
            after.add("Aborting")
        found[state] = frozenset(after)
    return found


def _seen(steps: Mapping[str, frozenset[str]]) -> Mapping[str, frozenset[str]]:
    """What may be seen next when acting states in between were over too soon to be seen."""
    found = {}
    for state in steps:
        reached: set[str] = set()
        rest = list(steps[state])
        while rest:
            each = rest.pop()
            if each not in reached:
                reached.add(each)
                rest += steps[each] if each in ACTING else ()
        found[state] = frozenset(reached - {state})
    return found


STEPS: Mapping[str, frozenset[str]] = _steps()
"""The states that may follow each one."""
SEEN_STEPS: Mapping[str, frozenset[str]] = _seen(STEPS)
"""The same for a machine of which only samples are seen."""
