"""Reading and writing one device: as much in one request as it takes, and less when it refuses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from bacpypes3.apdu import (
    ReadPropertyRequest,
    SubscribeCOVRequest,
    WritePropertyRequest,
)
from bacpypes3.basetypes import PropertyIdentifier
from bacpypes3.primitivedata import ObjectIdentifier

from millstream.connectors.bacnet._config import BacnetConfig
from millstream.connectors.bacnet._faults import error_quality, value_quality
from millstream.connectors.bacnet._link import BacnetLink, Refused
from millstream.connectors.bacnet._values import decode, tagged
from millstream.kernel import DecodeError, Unreachable
from millstream.model import BAD, BAD_DATA_UNAVAILABLE, BAD_DECODING_ERROR, GOOD, Quality, Value
from millstream.protocols.bacnet_multiple import SERVICE as MULTIPLE
from millstream.protocols.bacnet_multiple import decode_answer, encode_request, plain_value
from millstream.protocols.bacnet_plan import (
    DEVICE_TYPE,
    RELIABILITY,
    STATUS_FLAGS,
    PlanLimits,
    Property,
    Trouble,
    plan_reads,
    split_read,
)
from millstream.sdk import Log

Reading: TypeAlias = "tuple[Value | None, Quality]"
Content: TypeAlias = "tuple[Value | None, Quality, int | None]"  # and the number of its application tag
PROCESS_ID = 1  # the same in each session, so that a subscription which the device still has is renewed, not doubled
WILDCARD_INSTANCE = 4_194_303  # any device, ASHRAE 135-2020, clause 15.5.2
MAX_APDU = 62
MS_TP_BYTES = 480  # what every device takes that does not say how much
PLANS_COUNT_MAX = 64  # one for each set of tags asked together
REQUESTS_COUNT_MAX = 4096  # encoded once, sent with each scan


class Device:
    """What can be asked of one device. Each method raises Unreachable when it does not answer."""

    def __init__(self, link: BacnetLink, config: BacnetConfig, log: Log) -> None:
        self._link = link
        self._log = log
        self._config = config
        self._limits = PlanLimits(config.limits(MS_TP_BYTES).answer_bytes_max, config.properties_count_max)
        self._has_multiple = True
        self._requests: dict[tuple[Property, ...], bytes] = {}
        self._plans: dict[frozenset[Property], list[tuple[Property, ...]]] = {}
        self.number: int | None = config.device_id

    async def meet(self) -> None:
        """Ask who it is and how much it takes. Raises Unreachable (MS-1402) for another device than configured."""
        asked = Property(DEVICE_TYPE, WILDCARD_INSTANCE if self.number is None else self.number, 75)
        name, quality, _ = await self._read_single(asked)
        if isinstance(name, str) and quality.is_good:
            number = int(name.rpartition(":")[2])
            if self._config.device_id not in (None, number):
                raise another_device(self._link.where, self._config.device_id, number)
            self.number = number
        elif self._config.device_id is not None:
            raise another_device(self._link.where, self._config.device_id, None)
        else:
            self.number = await self._link.ask_number()  # not every device takes the wildcard
        if self.number is not None:
            size, quality, _ = await self._read_single(Property(DEVICE_TYPE, self.number, MAX_APDU))
            if isinstance(size, int) and quality.is_good:
                self._limits = self._config.limits(size)

    async def read(self, items: Iterable[Property]) -> dict[Property, Reading]:
        """A reading for each, in order; of present values with status flags, and the reliability of faulty ones."""
        wanted = list(dict.fromkeys(items))
        found = await self.read_raw([*wanted, *(item.sibling(STATUS_FLAGS) for item in wanted if item.has_flags)])
        judged = {item: self._judged(item, found, {}) for item in wanted}
        faulty = [item for item, (_, quality) in judged.items() if item.has_flags and not quality.is_good]
        reasons = await self.read_raw({item.sibling(RELIABILITY) for item in faulty}) if faulty else {}
        return judged | {item: self._judged(item, found, reasons) for item in faulty}

    def _judged(
        self, item: Property, found: Mapping[Property, Content], reasons: Mapping[Property, Content]
    ) -> Reading:
        value, quality, _ = found[item]
        if quality.is_bad or not item.has_flags:
            return value, quality
        flags = found.get(item.sibling(STATUS_FLAGS), (None, BAD, None))[0]
        if not isinstance(flags, list):
            return value, quality
        reason = reasons.get(item.sibling(RELIABILITY), (None, BAD, None))[0]
        return value, value_quality([bit is True for bit in flags], reason if isinstance(reason, int) else None)

    async def read_raw(self, items: Iterable[Property]) -> dict[Property, Content]:
        """The content of each, without its flags; a refused one has a bad quality."""
        own = {item: self._own(item) for item in items}
        key = frozenset(own.values())
        found: dict[Property, Content] = {}
        waiting = list(reversed(self._plan(key)))
        kept: list[tuple[Property, ...]] = []
        while waiting:
            request = waiting.pop()
            if not self._has_multiple or len(request) == 1:
                kept.append(request)
                found.update({item: await self._read_single(item) for item in request})
                continue
            try:
                found.update(await self._read_multiple(request))
                kept.append(request)
            except Refused as refusal:
                waiting.extend(reversed(self._smaller(request, refusal)))
        self._plans[key] = kept
        return {item: found.get(real, (None, BAD_DECODING_ERROR, None)) for item, real in own.items()}

    def _own(self, item: Property) -> Property:
        """The wildcard is this device; not every device takes it itself."""
        if (item.object_type, item.instance) != (DEVICE_TYPE, WILDCARD_INSTANCE) or self.number is None:
            return item
        return item._replace(instance=self.number)

    def _plan(self, key: frozenset[Property]) -> list[tuple[Property, ...]]:
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= PLANS_COUNT_MAX:
                self._plans.clear()
            plan = self._plans[key] = plan_reads(list(key), self._limits)
        return plan

    def _smaller(self, request: tuple[Property, ...], refusal: Refused) -> Sequence[tuple[Property, ...]]:
        if refusal.trouble is Trouble.UNSUPPORTED:
            self._has_multiple = False
            self._log.info("device reads one property a request only", error=str(refusal))
            return (request,)
        self._log.info("request refused, split", properties=len(request), error=str(refusal))
        return split_read(request)

    async def _read_multiple(self, request: tuple[Property, ...]) -> dict[Property, Content]:
        octets = self._requests.get(request)
        if octets is None:
            if len(self._requests) >= REQUESTS_COUNT_MAX:
                self._requests.clear()
            octets = self._requests[request] = encode_request(request)
        answer = await self._link.ask_raw(MULTIPLE, octets)
        try:
            elements = decode_answer(answer)
        except DecodeError as error:
            self._link.keep_broken(answer, str(error))
            raise Refused("answer cannot be read", self._link.where, Trouble.OTHER, None) from error
        return {
            item: content_of_octets(item, content) if code is None else (None, error_quality(code)[0], None)
            for item, content, code in elements
        }

    async def _read_single(self, item: Property) -> Content:
        request = ReadPropertyRequest(
            objectIdentifier=object_identifier(item), propertyIdentifier=PropertyIdentifier(item.property_id)
        )
        if item.array_index is not None:
            request.propertyArrayIndex = item.array_index
        try:
            answer = await self._link.ask(request)
        except Refused as refusal:
            return None, refusal_quality(refusal)[0], None
        return content_of(item, getattr(answer, "propertyValue", None))

    async def write(self, item: Property, value: Any, priority: int) -> tuple[Quality, str | None]:
        """Write an encoded value."""
        request = WritePropertyRequest(
            objectIdentifier=object_identifier(item),
            propertyIdentifier=PropertyIdentifier(item.property_id),
            propertyValue=value,
            priority=priority,
        )
        if item.array_index is not None:
            request.propertyArrayIndex = item.array_index
        try:
            await self._link.ask(request)
        except Refused as refusal:
            return refusal_quality(refusal)
        return GOOD, None

    async def subscribe(self, item: Property, lifetime_s: float | None) -> None:
        """Subscribe or renew; without a lifetime cancel. Raises Refused."""
        request = SubscribeCOVRequest(
            subscriberProcessIdentifier=PROCESS_ID, monitoredObjectIdentifier=object_identifier(item)
        )
        if lifetime_s is not None:
            request.issueConfirmedNotifications = self._config.cov_confirmed
            request.lifetime = int(lifetime_s)
        await self._link.ask(request)


def object_identifier(item: Property) -> Any:
    """In the library's form."""
    return ObjectIdentifier((item.object_type, item.instance))


def content_of(item: Property, content: Any) -> Content:
    """An encoded value, or the quality that says why there is none."""
    if content is None:
        return None, BAD_DECODING_ERROR, None
    try:
        value, kind = decode(item, content)
    except DecodeError:
        return None, BAD_DECODING_ERROR, None
    return (None, BAD_DATA_UNAVAILABLE, kind) if value is None else (value, GOOD, kind)


def refusal_quality(refusal: Refused) -> tuple[Quality, str]:
    """Quality and words for a refused request."""
    if refusal.error_code is None:
        return BAD_DATA_UNAVAILABLE if refusal.trouble is Trouble.TOO_LONG else BAD, str(refusal)
    return error_quality(refusal.error_code)


def content_of_octets(item: Property, octets: bytes) -> Content:
    """As `content_of`, of what stands between the tags of an answer."""
    plain = plain_value(item, octets)
    if plain is not None:
        return plain[0], GOOD, plain[1]
    try:
        return content_of(item, tagged(octets))
    except DecodeError:
        return None, BAD_DECODING_ERROR, None


def another_device(where: str, expected: int | None, got: int | None) -> Unreachable:
    """Behind the address is not the device that was configured."""
    return Unreachable(
        "another device answers at this address",
        where=where,
        expected=f"device {expected}",
        got="none of that number" if got is None else f"device {got}",
        next_step="correct `host` or `device_id`",
        code="MS-1402",
    )
