"""The bucket of contracts as it is read: sequence by sequence, it only grows."""

from __future__ import annotations

from millstream.bus._jetstream import StreamApi
from millstream.bus._streams import CONTRACTS
from millstream.kernel import DecodeError
from millstream.protocols.contract import Contract, ContractBook, decode_contract


class ContractLog:
    """What holds, as far as it was read. `unreadable` are those that this version does not understand, by sequence."""

    def __init__(self, api: StreamApi) -> None:
        self.book = ContractBook()
        self.unreadable: dict[int, str] = {}
        self._api = api
        self._seq = 0
        self._contracts: list[Contract] = []

    @property
    def contracts(self) -> tuple[Contract, ...]:
        """All versions that were read and understood, as published."""
        return tuple(self._contracts)

    async def look(self) -> bool:
        """Read what is new; true when there is a new book. Raises NotFoundError, Unreachable."""
        last_seq = (await self._api.state(CONTRACTS)).last_seq
        if last_seq == self._seq:
            return False
        if last_seq < self._seq:  # begun anew
            self._seq = 0
            self._contracts, self.unreadable = [], {}
        for seq in range(self._seq + 1, last_seq + 1):
            received = await self._api.get(CONTRACTS, seq)
            if received is not None:
                self._take(seq, received.payload)
            self._seq = seq
        self.book = ContractBook(self._contracts, self._seq)
        return True

    def _take(self, seq: int, payload: bytes) -> None:
        try:
            self._contracts.append(decode_contract(payload))
        except DecodeError as error:
            self.unreadable[seq] = str(error)
