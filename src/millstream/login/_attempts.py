"""Who may try again, and when: guesses are counted by user and by address, and both wait. Pure; time is given.

An attempt counts before its password is looked at, so that many at once are many. What succeeds clears its user, and
takes back one attempt of its address: an office of many is not locked out by logging in, and who knows one password
cannot use it to guess others for nothing.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

USER_TRIES = 5
ADDRESS_TRIES = 30
FIRST_WAIT_S, LONGEST_WAIT_S = 60, 15 * 60
FORGET_AFTER_S = 3600
ENTRIES_COUNT_MAX = 20_000


@dataclass(slots=True)
class _Entry:
    tries: int = 0
    last_s: float = 0.0
    until_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an attempt may do: go on (`wait_s` 0), or come again. `locks` says whom this very attempt has locked out:
    "user", "address", or nobody ("")."""

    wait_s: float = 0.0
    locks: str = ""


@dataclass(slots=True)
class Attempts:
    """All counts, bounded: when full, the oldest that does not wait goes first, then the oldest that waits."""

    _light: dict[tuple[str, ...], _Entry] = field(default_factory=dict)
    _waiting: dict[tuple[str, ...], _Entry] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._light) + len(self._waiting)

    def take(self, tenant: str, name: str, address: str, now_s: float) -> Verdict:
        """Count one attempt, unless it has to wait."""
        user, source = ("user", tenant, name), ("address", group_of(address))
        wait_s = max(self._wait_s(user, now_s), self._wait_s(source, now_s))
        if wait_s > 0:
            return Verdict(wait_s)
        locks = ""
        for key, tries_max in ((user, USER_TRIES), (source, ADDRESS_TRIES)):
            if self._count(key, tries_max, now_s):
                locks = key[0]
        return Verdict(0.0, locks)

    def forgive(self, tenant: str, name: str, address: str) -> None:
        """This user has shown who it is."""
        user, source = ("user", tenant, name), ("address", group_of(address))
        for kept in (self._light, self._waiting):
            kept.pop(user, None)
        entry = self._find(source)
        if entry is not None:
            entry.tries -= 1
            if entry.tries < ADDRESS_TRIES and self._waiting.pop(source, None) is not None:
                self._light[source] = entry
                entry.until_s = 0.0

    def _find(self, key: tuple[str, ...]) -> _Entry | None:
        return self._light.get(key) or self._waiting.get(key)

    def _wait_s(self, key: tuple[str, ...], now_s: float) -> float:
        entry = self._waiting.get(key)
        return 0.0 if entry is None else max(0.0, entry.until_s - now_s)

    def _count(self, key: tuple[str, ...], tries_max: int, now_s: float) -> bool:
        """True when whoever this is has to wait after this one."""
        entry = self._find(key)
        if entry is None:
            if len(self) >= ENTRIES_COUNT_MAX:
                kept = self._light or self._waiting
                del kept[next(iter(kept))]
            entry = self._light[key] = _Entry()
        if now_s - entry.last_s > FORGET_AFTER_S:
            entry.tries = 0
        entry.tries += 1
        entry.last_s = now_s
        over = entry.tries - tries_max
        if over < 0:
            return False
        entry.until_s = now_s + min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(over, 10))
        self._light.pop(key, None)
        self._waiting[key] = entry
        return True


def group_of(address: str) -> str:
    """Who counts as one: an IPv4 address, a network of 64 bits of IPv6 (which one subscriber has)."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if parsed.version == 6:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
