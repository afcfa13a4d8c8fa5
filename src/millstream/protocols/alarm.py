"""Alarms in the namespace, as CloudEvents: what is told of them (kind `alarm`) and what people ask of them (`ack`).

Both stand under the alarm's own path, ``acme/plant1/press:alarm/hihi``. Each event tells the whole alarm, so that the
newest one of each path is the list of alarms.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import msgspec

from millstream.kernel import DecodeError
from millstream.model import TagPath
from millstream.protocols.cloudevents import CloudEvent
from millstream.protocols.uns_subject import tag_subject

EVENT_TYPE = "millstream.alarm"
"""``millstream.alarm.raised`` and so on; refused ones of kind `event`: ``millstream.alarm.refused``."""
ASK_TYPE = "millstream.alarm.asked"
NOTIFY_TYPE = "millstream.notify"
TEXT_CHARS_MAX = 1000
ID_CHARS_MAX = 80
Action: TypeAlias = Literal["acknowledge", "reset", "shelve", "unshelve", "remove", "restore", "comment"]
"""`remove` takes an alarm out of service, `restore` puts it back."""
ACTIONS: tuple[str, ...] = get_args(Action)
Priority: TypeAlias = Literal["critical", "high", "medium", "low"]
PRIORITIES: tuple[str, ...] = get_args(Priority)


class AlarmAsk(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What somebody asks of an alarm. The same `id` counts once. `until_ns` (UTC) ends a shelf. With an `occurrence`
    an acknowledgement is for that one only: it does not take in a newer one that its author has not seen."""

    id: str
    action: Action
    who: str
    why: str = ""
    until_ns: int = 0
    occurrence: int = 0


class AlarmNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """One alarm as it stands after `change`. `state` is that of ISA-18.2; `since` is when the newest occurrence began,
    `count` how many there were; `value` is what raised it, of the tag `of`, against `limit`. `who`, `why` and `id` are
    of the one that asked for the change."""

    change: str
    state: str
    priority: str
    count: int = 0
    is_active: bool = False
    since: str | None = None
    of: str | None = None
    value: Any = None
    limit: Any = None
    unit: str | None = None
    message: str | None = None
    response: str | None = None
    until: str | None = None
    who: str | None = None
    why: str | None = None
    id: str | None = None


class Notification(msgspec.Struct, frozen=True):
    """Somebody is to be told: over the channels `to`, of the alarm as `note` has it. The `id` is the same whenever this
    is said or sent again; `step` is that of the escalation, or "end"."""

    id: str
    alarm: str
    rule: str
    step: str
    to: list[str]
    note: AlarmNote

    @property
    def subject(self) -> str:
        """One line for people."""
        what = "is over" if self.step == "end" else self.note.state
        return f"[{self.note.priority}] {self.note.message or self.alarm} ({what})"

    @property
    def text(self) -> str:
        """The whole, for people."""
        note = self.note
        rows = (
            ("alarm", self.alarm), ("state", note.state), ("since", note.since), ("value", note.value),
            ("limit", note.limit), ("what to do", note.response), ("rule", f"{self.rule}, step {self.step}"),
            ("id", self.id),
        )  # fmt: skip
        return "\n".join([self.subject, "", *(f"{name}: {value}" for name, value in rows if value is not None)]) + "\n"


def check_ask(raw: Any) -> AlarmAsk:
    """From the data of an event or of a command. Raises DecodeError (MS-2700)."""
    try:
        ask = msgspec.convert(raw, AlarmAsk)
    except msgspec.ValidationError as error:
        raise _malformed(str(error)) from error
    for name, text, limit in (("id", ask.id, ID_CHARS_MAX), ("who", ask.who, 128)):
        if not 0 < len(text) <= limit or not text.isprintable():
            raise _malformed(f"{name} has 1 to {limit} characters")
    if len(ask.why) > TEXT_CHARS_MAX:
        raise _malformed(f"why has at most {TEXT_CHARS_MAX} characters")
    if (ask.action == "shelve") != (ask.until_ns > 0):
        raise _malformed("to shelve, and only that, takes a time until when")
    if ask.action in ("shelve", "remove", "comment") and not ask.why.strip():
        raise _malformed(f"to {ask.action} takes a reason")
    return ask


def ask_event(path: str, ask: AlarmAsk, time_ns: int) -> tuple[str, CloudEvent]:
    """Where what is asked of an alarm is stored, and the event. Raises DecodeError for what is no path."""
    event = CloudEvent(ask.id, "/alarms", ASK_TYPE, msgspec.to_builtins(ask), time_ns, path)
    return tag_subject(TagPath.parse(path), "_ack"), event


def read_note(data: Any) -> AlarmNote | None:
    """From the data of an event; None when it is not of this form (other programs say alarms, too)."""
    try:
        return msgspec.convert(data, AlarmNote)
    except msgspec.ValidationError:
        return None


def _malformed(got: str) -> DecodeError:
    return DecodeError("this asks nothing of an alarm", expected="action, who, why", got=got[:200], code="MS-2700")
