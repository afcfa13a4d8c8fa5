"""Contracts as the SDK sees them: the node's registry, the check of what is published, quarantine, who consumes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from millstream.bus._link import Link
from millstream.bus._streams import CONTRACTS, CONTRACTS_COPY, CONTRACTS_PREFIX
from millstream.client._acts import Acts
from millstream.client._deadletter import CARRIED, DeadLetter
from millstream.client._streams import Streams, refuse
from millstream.client._writes import me
from millstream.kernel import Clock, ConfigError, DecodeError, NotFoundError, PlantError
from millstream.protocols.audit import contract_name
from millstream.protocols.cloudevents import decode_event
from millstream.protocols.contract import (
    EVENT_KINDS,
    Change,
    Contract,
    ContractBook,
    ContractBroken,
    Verdict,
    Violation,
    check_contract,
    compare,
    contract_key,
    decode_contract,
    encode_contract,
    newest_versions,
)
from millstream.protocols.contract_audit import by_header, published_told
from millstream.protocols.uns_pattern import Pattern, overlap
from millstream.protocols.uns_payload import ARROW_TYPE, JSON_TYPE, decode_block, decode_sample
from millstream.protocols.uns_subject import decode_subject

BOOK_AGE_NS_MAX = 2_000_000_000  # of what is known of the registry; then it is asked whether there is more
PAGE_COUNT = 500
SOURCE = "sdk"


@dataclass(frozen=True, slots=True)
class Consumer:
    """A flow that reads what a contract is about: `input` is its pattern, None when its inputs stand in its code, so
    that it may read it."""

    node: str
    flow: str
    version: int
    input: str | None

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"node": self.node, "flow": self.flow, "version": self.version, "input": self.input}


@dataclass(frozen=True, slots=True)
class Review:
    """What publishing a contract would change, and for which flows. Other readers of the data are not known."""

    contract: Contract
    verdict: Verdict
    changes: Sequence[Change]
    consumers: Sequence[Consumer]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "name": self.contract.name, "version": self.contract.version, "verdict": self.verdict,
            "changes": [change.as_dict() for change in self.changes],
            "consumers": [consumer.as_dict() for consumer in self.consumers],
        }  # fmt: skip


class Registry:
    """The contracts of one node. What is read is kept, and asked for again when it is older than two seconds."""

    def __init__(self, link: Link, streams: Streams, clock: Clock, acts: Acts) -> None:
        self._link = link
        self._acts = acts
        self._streams = streams
        self._clock = clock
        self._contracts: list[Contract] = []
        self._seq = 0
        self._book = ContractBook()
        self._looked_ns: int | None = None

    async def versions(self) -> Sequence[Contract]:
        """All versions of all contracts, as published; those that this program does not understand are left out."""
        try:
            info = await self._streams.info(CONTRACTS)
        except NotFoundError:  # a node that has no registry
            return ()
        last_seq = int(info["state"]["last_seq"])
        if last_seq < self._seq:
            self._contracts, self._seq = [], 0
        while self._seq < last_seq:
            frames = await self._streams.range(CONTRACTS, start_seq=self._seq + 1, count=PAGE_COUNT)
            for frame in frames:
                try:
                    self._contracts.append(decode_contract(frame.payload))
                except DecodeError:
                    continue
            self._seq = frames[-1].seq if frames else last_seq
        return self._contracts

    async def book(self) -> ContractBook:
        """What holds now, at most two seconds old."""
        now_ns = self._clock.monotonic_ns()
        if self._looked_ns is None or now_ns - self._looked_ns > BOOK_AGE_NS_MAX:
            versions = await self.versions()
            if self._book.revision != self._seq:
                self._book = ContractBook(versions, self._seq)
            self._looked_ns = now_ns
        return self._book

    async def newest(self, name: str) -> Contract | None:
        """The version of a name that counts; None when there is none."""
        return newest_versions(await self.versions()).get(name)

    async def review(self, contract: Contract, nodes: Sequence[Mapping[str, Any]]) -> Review:
        """Compare with the published version; `nodes` are the statuses in which flows are looked for."""
        old = await self.newest(contract.name)
        verdict, changes = compare(old, contract)
        version = (old.version if old else 0) + (verdict != "same")
        concerned = [contract] if old is None else [contract, old]
        return Review(replace(contract, version=version), verdict, changes, consumers_of(concerned, nodes))

    async def publish(self, contract: Contract, *, is_breaking_allowed: bool) -> tuple[Verdict, Contract]:
        """Store the next version, unless nothing changed. Raises ConfigError for a wrong contract, PlantError for a
        breaking change that is not allowed and at a node that only has a copy."""
        troubles = check_contract(contract)
        if troubles:
            where, what = troubles[0]
            raise ConfigError(what, where=f"contract {contract.name}: {'.'.join(map(str, where))}", code="MS-0331")
        info = await self._streams.info(CONTRACTS)
        if info["config"].get("description") == CONTRACTS_COPY:
            raise PlantError(
                "this edge has a copy of its hub's contracts", where=f"contract {contract.name}",
                next_step="publish it at the hub", code="MS-0332",
            )  # fmt: skip
        old = await self.newest(contract.name)
        verdict, changes = compare(old, contract)
        if verdict == "same" and old is not None:
            return verdict, old
        if verdict == "breaking" and not is_breaking_allowed:
            reasons = "; ".join(f"{c.where}: {c.what}" for c in changes if c.is_breaking)
            raise PlantError(
                "a breaking change", where=f"contract {contract.name}", got=reasons,
                next_step="publish it under another name, or with --breaking once its sources keep it",
                code="MS-0332",
            )  # fmt: skip
        new = replace(contract, version=(old.version if old else 0) + 1, published_ns=self._clock.now_ns())
        reply = await self._link.request(
            CONTRACTS_PREFIX + contract_key(new), encode_contract(new),
            headers={"Nats-Expected-Last-Subject-Sequence": "0", **by_header(me(), self._acts.origin)},
        )  # fmt: skip
        refuse(json.loads(reply.payload), f"contract {new.label}")
        self._looked_ns = None
        await self._tell(old, new)
        return verdict, new

    async def _tell(self, old: Contract | None, new: Contract) -> None:
        """Where the plant begins; where nobody reports yet, at the place that the contract begins with. Killed before,
        a hub with tenants tells it."""
        told = published_told(old, new, me(), self._acts.origin)
        try:
            place = await self._acts.place_of()
        except NotFoundError:
            place = new.paths[0].partition(":")[0].partition("/")[0]
            if "*" in place:
                return  # of no place at all
        await self._acts.tell("contract", "put", told, place=place, id=contract_name(new.label, new.published_ns))

    # -- what is published --------------------------------------------------------------------------------------------

    async def violation(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> Violation | None:
        """What contract a message breaks, if any. Raises DecodeError when it is no message of its kind."""
        check = (await self.book()).check_of(subject)
        if check is None:
            return None
        if decode_subject(subject).contract[1:] in EVENT_KINDS:
            event = decode_event(headers, payload)
            return check.find_event(event.type, event.data)
        if headers.get("Content-Type") == ARROW_TYPE:
            return check.find_record(decode_block(payload))
        return check.find_record(decode_sample(payload))

    async def put_aside(self, source: str, payload: bytes, reason: str, *, code: str) -> None:
        """Keep bytes that became nothing among the node's dead letters; `source` is one word. A node without dead
        letters keeps none."""
        stream = next(iter(await self._streams.of_dead_letters()), None)
        if stream is None:
            return
        letter = {
            "Ms-Reason": _line(reason), "Ms-Code": code, "Ms-Source": source, "Ms-Time": str(self._clock.now_ns()),
            "Content-Type": JSON_TYPE,
        }  # fmt: skip
        await self._store_letter(stream, source, payload, letter)

    async def _store_letter(self, stream: str, source: str, payload: bytes, letter: Mapping[str, str]) -> str:
        subjects = (await self._streams.info(stream))["config"]["subjects"]
        reply = await self._link.request(str(subjects[0]).removesuffix(">") + source, payload, headers=letter)
        answer = json.loads(reply.payload)
        refuse(answer, source)
        return f"{answer['stream']}:{answer['seq']}"

    async def quarantine(
        self, subject: str, payload: bytes, headers: Mapping[str, str], violation: Violation
    ) -> ContractBroken:
        """Keep the message in the node's dead-letter stream; the error for whoever published it."""
        path = str(decode_subject(subject).tag)
        stream = next(iter(await self._streams.of_dead_letters()), None)
        letter_id = None
        if stream is not None:
            letter = {
                "Ms-Reason": _line(str(violation)), "Ms-Code": ContractBroken.default_code, "Ms-Source": SOURCE,
                "Ms-Time": str(self._clock.now_ns()), "Ms-Subject": subject, "Ms-Contract": violation.contract,
                "Content-Type": headers.get("Content-Type", JSON_TYPE),
                **{name: text for name, text in headers.items() if name.lower().startswith(CARRIED)},
            }  # fmt: skip
            letter_id = await self._store_letter(stream, SOURCE, payload, letter)
        return ContractBroken(
            violation.reason, where=path, expected=f"what contract {violation.contract} says",
            next_step=f"it is kept as dead letter {letter_id}" if letter_id else None,
        )  # fmt: skip

    async def check_replay(self, letter: DeadLetter, subject: str) -> None:
        """Raise ContractBroken when a letter would still break a contract."""
        headers = dict(letter.headers)
        if letter.content_type is not None:
            headers["Content-Type"] = letter.content_type
        violation = await self.violation(subject, letter.payload, headers)
        if violation is not None:
            raise ContractBroken(
                violation.reason, where=f"dead letter {letter.id}",
                expected=f"what contract {violation.contract} says",
                next_step="correct its bytes and replay it with --file, or publish a contract that allows it",
            )  # fmt: skip


def consumers_of(contracts: Sequence[Contract], nodes: Sequence[Mapping[str, Any]]) -> list[Consumer]:
    """The flows whose inputs share a path and the kind with one of the contracts, and those whose inputs are not
    configured."""
    found: dict[Consumer, None] = {}
    for node in nodes:
        for flow in node.get("flows") or ():
            name, version = str(flow.get("name")), int(flow.get("version", 1))
            inputs = flow.get("inputs") or ()
            if not inputs:
                found[Consumer(str(node.get("name")), name, version, None)] = None
            for said in inputs:
                if any(_reads(said, contract) for contract in contracts):
                    found[Consumer(str(node.get("name")), name, version, str(said.get("pattern")))] = None
    return list(found)


def _reads(said: Mapping[str, Any], contract: Contract) -> bool:
    try:
        pattern = Pattern.parse(str(said.get("pattern")))
    except DecodeError:
        return False
    return said.get("kind", "tag") == contract.kind and any(
        overlap(pattern, Pattern.parse(path)) for path in contract.paths
    )


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:512]
