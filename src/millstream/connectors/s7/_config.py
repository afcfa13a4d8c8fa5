"""Configuration of the S7 connector."""

from __future__ import annotations

import codecs
from typing import Literal

from pydantic import Field, field_validator

from millstream.protocols.s7_plan import ITEMS_COUNT_MAX
from millstream.protocols.s7_wire import PDU_BYTES_MIN
from millstream.sdk import ConnectorConfig, Duration, SecretRef

CONNECTION_TYPES = {"pg": 1, "op": 2, "basic": 3}


class S7Config(ConnectorConfig):
    """Where the PLC is, and how much it takes in one request."""

    host: str = Field(min_length=1)
    """Name or IPv4 address of the CPU or its communication processor."""
    port: int = Field(default=102, ge=1, le=65535)
    """Its port."""
    rack: int = Field(default=0, ge=0, le=7)
    """Rack of the CPU; 0 for all but some S7-400."""
    slot: int = Field(default=1, ge=0, le=31)
    """Slot of the CPU: 1 for S7-1200 and S7-1500, 2 for S7-300, as in the hardware configuration for S7-400."""
    connection_type: Literal["pg", "op", "basic"] = "basic"
    """Which of the PLC's connection resources is taken; a PLC keeps a few of each, and engineering needs `pg`."""
    password: SecretRef | None = None
    """The password of an S7-300 or S7-400 with read or write protection, at most eight characters."""
    connect_timeout: Duration = 5.0
    """How long connecting may take."""
    timeout: Duration = 3.0
    """How long one answer may take; a later one means that the link is lost."""
    pdu_bytes: int = Field(default=960, ge=PDU_BYTES_MIN, le=960)
    """The largest message to ask for. The PLC answers with what it takes: 240, 480 or 960."""
    gap_bytes_max: int = Field(default=32, ge=0, le=400)
    """Up to so many bytes that nobody wants are read along to save an item."""
    items_count_max: int = Field(default=ITEMS_COUNT_MAX, ge=1, le=ITEMS_COUNT_MAX)
    """Blocks in one request; 1 for devices that take no more (some gateways that speak S7)."""
    state_interval: Duration = 5.0
    """How often the CPU is asked whether it runs. 0 never: then values of a stopped PLC look good."""
    string_encoding: str = "latin-1"
    """Character set of CHAR and STRING."""

    @field_validator("string_encoding")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            codecs.lookup(name)
            "A".encode(name)
        except LookupError as error:
            raise ValueError("unknown character set, expected e.g. latin-1, cp1252, utf-8") from error
        return name
