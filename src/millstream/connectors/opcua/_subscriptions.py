"""Subscriptions of one session: planned by publishing interval, fed by publish requests that need no task."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from asyncua import ua
from asyncua.common.utils import Buffer

from millstream.connectors.opcua._binary import DataValue
from millstream.connectors.opcua._config import Subscription, TagOptions
from millstream.connectors.opcua._events import event_filter, field_names
from millstream.connectors.opcua._faults import fault, silent, status_name, suppressed_refusal
from millstream.connectors.opcua._following import Followed
from millstream.connectors.opcua._link import Link
from millstream.connectors.opcua._responses import Notifications, ServiceFault
from millstream.kernel import Clock, PlantError, Unreachable
from millstream.model import Value
from millstream.sdk import Tag

MISSED_KEEP_ALIVES_MAX = 3
PUBLISHING_S_MIN = 0.05  # 0 lets a server publish without a cycle: some, asyncua's for one, then send no keep-alive
EVENTS_QUEUED = 1000  # of one notifier in the server, unless 'queue_size' says otherwise: alarms come in showers
LEVEL_S = 1.0  # how often the server looks at its own service level and state for us
LIFETIME_S_MIN = 60.0  # of a subscription without publish requests: what back-pressure may take
_FILTER_REFUSED = {
    ua.StatusCodes.BadMonitoredItemFilterUnsupported,
    ua.StatusCodes.BadMonitoredItemFilterInvalid,
    ua.StatusCodes.BadFilterNotAllowed,
    ua.StatusCodes.BadDeadbandFilterInvalid,
    ua.StatusCodes.BadEventFilterInvalid,
}
_SEQUENCE_MAX = 2**32 - 1
STATE_HANDLE = 2**31 - 3  # client handle of the server's State
LEVEL_HANDLE = 2**31 - 2  # client handle of the server's ServiceLevel
MODEL_HANDLE = 2**31 - 1  # client handle of the events of a changed address space; node-opcua makes 0 of 2**32 - 1


@dataclass(slots=True)
class _Subscribed:
    """One subscription at the server; times are monotonic ns."""

    subscription_id: int
    publishing_interval_s: float
    silence_s_max: float
    seen_at_ns: int
    sequence_next: int = 1


def queue_size(tag: Tag, options: TagOptions, limits: Subscription) -> int:
    """Length of the monitored item's queue: two publishing intervals of samples, so that a late publish loses none."""
    if options.queue_size is not None:
        return options.queue_size
    ratio = (
        tag.publishing_interval_s / tag.sampling_interval_s if tag.sampling_interval_s > 0 else limits.queue_size_min
    )
    return min(max(2 * math.ceil(ratio) + 1, limits.queue_size_min), limits.queue_size_max)


def plan(followed: Sequence[Followed], items_max: int) -> Iterator[tuple[float, Sequence[Followed]]]:
    """One subscription a publishing interval, at most `items_max` items each."""
    classes: dict[float, list[Followed]] = {}
    for item in followed:
        classes.setdefault(item.tag.publishing_interval_s, []).append(item)
    for interval_s, items in classes.items():
        for at in range(0, len(items), items_max):
            yield interval_s, items[at : at + items_max]


class Subscriptions:
    """What the server notifies, held until `take`.

    `failure` is set when the link or a subscription is gone; `wake` when there is something to see. When half of the
    room is taken no more publish requests are sent: the server has to queue, and `was_held_back` stays set. `dropped`
    counts what found no room.
    """

    def __init__(self, link: Link, limits: Subscription, clock: Clock) -> None:
        self.failure: Exception | None = None
        self.dropped = 0
        self.messages_missed = 0
        self.was_held_back = False
        self.model_changes = 0
        self.wake = asyncio.Event()
        self.flawed: deque[tuple[bytes, str]] = deque(maxlen=1000)
        self._link = link
        self._limits = limits
        self._clock = clock
        self._held: deque[list[tuple[int, DataValue]]] = deque()
        self._held_events: list[tuple[int, list[Value | None]]] = []
        self._held_count = 0
        self._in_flight = 0
        self._requests_max = limits.requests_max
        self._acknowledge: list[ua.SubscriptionAcknowledgement] = []
        self._subscribed: dict[int, _Subscribed] = {}
        self._items: dict[int, tuple[int, int]] = {}  # handle -> subscription, monitored item
        self._ids: dict[float, int] = {}  # the newest subscription of each publishing interval
        self._is_closed = False

    # Setting up

    async def add(
        self, followed: Sequence[Followed], options: Sequence[TagOptions], *, reuse: bool
    ) -> list[tuple[Followed, int]]:
        """Monitor all, in the subscriptions that there are when `reuse`; gives the refused ones with their status."""
        by_handle = {item.handle: option for item, option in zip(followed, options, strict=True)}
        refused: list[tuple[Followed, int]] = []
        for interval_s, items in plan(followed, self._limits.items_max):
            subscription_id = self._ids.get(interval_s) if reuse else None
            if subscription_id is None:
                subscription_id = await self._create(interval_s)
            self._fill()
            refused += await self._monitor(subscription_id, items, by_handle)
        return refused

    async def _create(self, interval_s: float) -> int:
        cycle_s = max(interval_s, PUBLISHING_S_MIN)
        keep_alive = max(1, round(self._limits.keep_alive_interval / cycle_s))
        lifetime = max(3 * keep_alive, math.ceil(LIFETIME_S_MIN / cycle_s))
        parameters = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=cycle_s * 1000,
            RequestedLifetimeCount=lifetime,
            RequestedMaxKeepAliveCount=keep_alive,
            MaxNotificationsPerPublish=self._limits.notifications_max,
            PublishingEnabled=True,
            Priority=0,
        )
        result = await self._link.create_subscription(parameters)
        revised_s = max(result.RevisedPublishingInterval, 10.0) / 1000
        silence_s = MISSED_KEEP_ALIVES_MAX * max(result.RevisedMaxKeepAliveCount, 1) * revised_s
        self._subscribed[result.SubscriptionId] = _Subscribed(
            result.SubscriptionId, revised_s, silence_s, self._clock.monotonic_ns()
        )
        self._ids[interval_s] = result.SubscriptionId
        return int(result.SubscriptionId)

    async def _monitor(
        self, subscription_id: int, items: Sequence[Followed], options: dict[int, TagOptions]
    ) -> list[tuple[Followed, int]]:
        refused: list[tuple[Followed, int]] = []
        plain: list[Followed] = []
        for part, statuses in [
            (part, await self._create_items(subscription_id, part, options, with_filter=True))
            for part in _parts(items, self._link.limits["monitor"])
        ]:
            for item, status in zip(part, statuses, strict=True):
                if status in _FILTER_REFUSED:
                    plain.append(item)
                elif status >> 31:
                    refused.append((item, status))
        for part in _parts(plain, self._link.limits["monitor"]):
            statuses = await self._create_items(subscription_id, part, options, with_filter=False)
            refused += [(item, status) for item, status in zip(part, statuses, strict=True) if status >> 31]
        return refused

    async def _create_items(
        self, subscription_id: int, items: Sequence[Followed], options: dict[int, TagOptions], *, with_filter: bool
    ) -> list[int]:
        parameters = ua.CreateMonitoredItemsParameters()
        parameters.SubscriptionId = subscription_id
        parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
        parameters.ItemsToCreate = [
            _item_request(item, options[item.handle], self._limits, with_filter=with_filter) for item in items
        ]
        results = await self._link.create_monitored_items(parameters)
        if len(results) != len(items):
            raise Unreachable("the OPC UA server answered for another number of items", where=self._link.where)
        for item, result in zip(items, results, strict=True):
            if result.StatusCode.is_good():
                self._items[item.handle] = subscription_id, result.MonitoredItemId
        return [int(result.StatusCode.value) for result in results]

    async def remove(self, followed: Sequence[Followed]) -> None:
        """Monitor these no longer."""
        by_subscription: dict[int, list[int]] = {}
        for item in followed:
            place = self._items.pop(item.handle, None)
            if place is not None:
                by_subscription.setdefault(place[0], []).append(place[1])
        for subscription_id, items in by_subscription.items():
            await self._link.delete_monitored_items(subscription_id, items)

    async def refresh_conditions(self, handles: set[int]) -> None:
        """Have the server tell again which conditions hold, to each subscription of events (OPC 10000-9, 5.5.7).

        A server without conditions refuses, which is no fault."""
        condition = ua.NodeId(ua.ObjectIds.ConditionType)
        method = ua.NodeId(ua.ObjectIds.ConditionType_ConditionRefresh)
        for subscription_id in {place[0] for handle, place in self._items.items() if handle in handles}:
            argument = ua.Variant(subscription_id, ua.VariantType.UInt32)
            with suppressed_refusal():
                await self._link.call(condition, method, [argument])

    async def watch_server(self) -> None:
        """Ask for the events of a changed address space, for service level and state; refusals are no fault."""
        if not self._subscribed:
            return
        parameters = ua.CreateMonitoredItemsParameters()
        parameters.SubscriptionId = next(iter(self._subscribed))
        parameters.TimestampsToReturn = ua.TimestampsToReturn.Neither
        level, state = ua.ObjectIds.Server_ServiceLevel, ua.ObjectIds.Server_ServerStatus_State
        parameters.ItemsToCreate = [
            _model_request(), _status_request(level, LEVEL_HANDLE), _status_request(state, STATE_HANDLE),
        ]  # fmt: skip
        with suppressed_refusal():
            await self._link.create_monitored_items(parameters)

    # Publishing

    def _fill(self) -> None:
        if self._is_closed or self.failure is not None or not self._subscribed:
            return
        if self._held_count >= self._limits.samples_held_max // 2:
            self.was_held_back = True
            return
        while self._in_flight < self._requests_max:
            acknowledge, self._acknowledge = self._acknowledge, []
            self._link.protocol.publish(acknowledge).add_done_callback(self._published)
            self._in_flight += 1

    def _published(self, future: asyncio.Future[Buffer]) -> None:
        self._in_flight -= 1
        if future.cancelled() or self._is_closed:
            if not future.cancelled():
                future.exception()
            return
        try:
            self._take_response(future)
            self._fill()
        except Exception as error:  # noqa: BLE001 (a callback has no caller: the session raises it from `take`)
            self._fail(error)
        self.wake.set()

    def _take_response(self, future: asyncio.Future[Buffer]) -> None:
        error = future.exception()
        if isinstance(error, PlantError):
            raise error
        if error is not None:
            raise silent(self._link.where, f"the link to the OPC UA server was lost: {error or type(error).__name__}")
        found = self._link.responses.publish(bytes(future.result()))
        if isinstance(found, ServiceFault):
            self._take_fault(found.status)
            return
        self.flawed.extend(found.flawed)
        self._count_missed(found)
        if found.status_change is not None:
            name = status_name(found.status_change)
            raise Unreachable("the OPC UA server ended a subscription", where=self._link.where, got=name)
        if not found.is_keep_alive:
            acknowledgement = ua.SubscriptionAcknowledgement(found.subscription_id, found.sequence)
            self._acknowledge.append(acknowledgement)
        if found.events:
            self.model_changes += sum(1 for handle, _ in found.events if handle == MODEL_HANDLE)
            self._hold_events([event for event in found.events if event[0] != MODEL_HANDLE])
        if found.values:
            self._hold(found.values)

    def _take_fault(self, status: int) -> None:
        base = status & 0xFFFF0000
        if base == ua.StatusCodes.BadTooManyPublishRequests:
            self._requests_max = max(1, min(self._requests_max, self._in_flight))
        elif base not in (ua.StatusCodes.BadTimeout, ua.StatusCodes.BadRequestTimeout):
            raise fault(status, self._link.where)

    def _count_missed(self, found: Notifications) -> None:
        subscribed = self._subscribed.get(found.subscription_id)
        if subscribed is None:
            return
        subscribed.seen_at_ns = self._clock.monotonic_ns()
        missed = found.sequence - subscribed.sequence_next
        if missed > 0:
            self.messages_missed += missed
        if found.is_keep_alive:
            subscribed.sequence_next = found.sequence
        else:
            subscribed.sequence_next = found.sequence + 1 if found.sequence < _SEQUENCE_MAX else 1

    def _hold(self, values: list[tuple[int, DataValue]]) -> None:
        self._make_room(len(values))
        self._held.append(values)

    def _hold_events(self, events: list[tuple[int, list[Value | None]]]) -> None:
        self._make_room(len(events))
        self._held_events += events

    def _make_room(self, count: int) -> None:
        if self._held_count + count > self._limits.samples_held_max:
            self.dropped += count
            raise Unreachable(
                "samples arrive faster than they are stored, and the OPC UA server does not hold them back",
                where=self._link.where,
                got=f"{self._held_count} samples held",
                next_step="raise 'subscription.samples_held_max' or lower the sampling rate",
            )
        self._held_count += count

    def _fail(self, error: Exception) -> None:
        if self.failure is None:
            self.failure = error

    # Taking

    def hold(self, values: list[tuple[int, DataValue]]) -> None:
        """Add values that were read, not notified."""
        self._hold(values)

    def take(self) -> list[list[tuple[int, DataValue]]]:
        """All values held, oldest first. When nothing is held any more, raises what ended the link."""
        taken = list(self._held)
        self._held.clear()
        self._held_count = len(self._held_events)
        self.wake.clear()
        if not taken and not self._held_events and self.failure is not None:
            raise self.failure
        if self.failure is not None:
            self.wake.set()
        return taken

    def take_events(self) -> list[tuple[int, list[Value | None]]]:
        """All events that are held, as (handle, fields), oldest first."""
        taken, self._held_events = self._held_events, []
        self._held_count -= len(taken)
        return taken

    def go_on(self) -> None:
        """Ask for more, now that what was taken is out of the way."""
        self._fill()

    def check(self) -> None:
        """Raise Unreachable when a subscription missed three keep-alives although requests were waiting."""
        if self._in_flight == 0:
            return
        now_ns = self._clock.monotonic_ns()
        for subscribed in self._subscribed.values():
            if (now_ns - subscribed.seen_at_ns) / 1e9 > subscribed.silence_s_max + self._link.timeout_s:
                raise silent(self._link.where, "a subscription of the OPC UA server fell silent")

    def close(self) -> None:
        """Take nothing more; the session's end deletes the subscriptions at the server."""
        self._is_closed = True


def _parts(items: Sequence[Followed], size: int) -> Iterator[Sequence[Followed]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]


def _model_request() -> ua.MonitoredItemCreateRequest:
    """Events of the Server object whose type is BaseModelChangeEventType or below (OPC 10000-5, 6.4.31)."""
    kind = ua.SimpleAttributeOperand()
    kind.TypeDefinitionId = ua.NodeId(ua.ObjectIds.BaseEventType)
    kind.BrowsePath = [ua.QualifiedName("EventType")]
    kind.AttributeId = ua.AttributeIds.Value
    wanted = ua.ContentFilterElement()
    wanted.FilterOperator = ua.FilterOperator.OfType
    wanted.FilterOperands = [ua.LiteralOperand(ua.Variant(ua.NodeId(ua.ObjectIds.BaseModelChangeEventType)))]
    parameters = ua.MonitoringParameters()
    parameters.ClientHandle = MODEL_HANDLE
    parameters.SamplingInterval = 0
    parameters.QueueSize = 10
    parameters.DiscardOldest = True
    parameters.Filter = ua.EventFilter([kind], ua.ContentFilter([wanted]))
    request = ua.MonitoredItemCreateRequest()
    request.ItemToMonitor = ua.ReadValueId(ua.NodeId(ua.ObjectIds.Server), ua.AttributeIds.EventNotifier)
    request.MonitoringMode = ua.MonitoringMode.Reporting
    request.RequestedParameters = parameters
    return request


def _status_request(node: int, handle: int) -> ua.MonitoredItemCreateRequest:
    parameters = ua.MonitoringParameters()
    parameters.ClientHandle = handle
    parameters.SamplingInterval = LEVEL_S * 1000
    parameters.QueueSize = 1
    request = ua.MonitoredItemCreateRequest()
    request.ItemToMonitor = ua.ReadValueId(ua.NodeId(node), ua.AttributeIds.Value)
    request.MonitoringMode = ua.MonitoringMode.Reporting
    request.RequestedParameters = parameters
    return request


def _events_request(item: Followed, options: TagOptions, *, with_conditions: bool) -> ua.MonitoredItemCreateRequest:
    """A server that does not know the fields of conditions is asked again without them."""
    item.event_names = field_names(options, with_conditions=with_conditions)
    parameters = ua.MonitoringParameters()
    parameters.ClientHandle = item.handle
    parameters.SamplingInterval = 0
    parameters.QueueSize = options.queue_size or EVENTS_QUEUED
    parameters.DiscardOldest = True
    parameters.Filter = event_filter(options, item.event_type, with_conditions=with_conditions)
    request = ua.MonitoredItemCreateRequest()
    request.ItemToMonitor = ua.ReadValueId(item.node, ua.AttributeIds.EventNotifier)
    request.MonitoringMode = ua.MonitoringMode.Reporting
    request.RequestedParameters = parameters
    return request


def _item_request(
    item: Followed, options: TagOptions, limits: Subscription, *, with_filter: bool
) -> ua.MonitoredItemCreateRequest:
    if options.mode == "events":
        return _events_request(item, options, with_conditions=with_filter)
    parameters = ua.MonitoringParameters()
    parameters.ClientHandle = item.handle
    parameters.SamplingInterval = item.tag.sampling_interval_s * 1000
    parameters.QueueSize = queue_size(item.tag, options, limits)
    parameters.DiscardOldest = True
    deadband = options.deadband_absolute if options.deadband_absolute is not None else options.deadband_percent
    if deadband is not None and with_filter:
        kind = ua.DeadbandType.Absolute if options.deadband_absolute is not None else ua.DeadbandType.Percent
        parameters.Filter = ua.DataChangeFilter(ua.DataChangeTrigger.StatusValue, kind, deadband)
    request = ua.MonitoredItemCreateRequest()
    request.ItemToMonitor = ua.ReadValueId(item.node, ua.AttributeIds.Value)
    request.MonitoringMode = ua.MonitoringMode.Reporting
    request.RequestedParameters = parameters
    return request
