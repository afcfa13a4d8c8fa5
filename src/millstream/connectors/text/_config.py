"""Configuration of the text connector."""

from __future__ import annotations

import codecs
import ipaddress
from typing import Literal

from pydantic import Field, field_validator, model_validator

from millstream.kernel import ConfigError
from millstream.protocols.text_frames import FRAME_BYTES_MAX, Framing
from millstream.protocols.text_mapping import ColumnReader, JsonReader, PatternReader, Reader
from millstream.sdk import ConnectorConfig, Duration, Strict


class TextConfig(ConnectorConfig):
    """Where the device is, how its frames are told apart, and what they say."""

    transport: Literal["tcp", "listen", "serial"] = "tcp"
    """`tcp`: connect to the device. `listen`: devices connect to this edge. `serial`: a serial port."""
    host: str = ""
    """Name or address of the device; for `listen` the address of this machine to listen on, e.g. 192.0.2.5."""
    port: int = Field(default=0, ge=0, le=65535)
    """Its port, or the one to listen on."""
    allowed: tuple[str, ...] = ()
    """For `listen`: addresses or networks that may connect, e.g. `192.0.2.40` or `192.0.2.0/28`. None given: all."""
    connect_timeout: Duration = 5.0
    """How long connecting may take; for `listen`, how long to wait for the first device."""
    serial_port: str | None = None
    """The serial port, e.g. `/dev/ttyUSB0`; for `serial` only, as the next four."""
    baud_rate: int = Field(default=9600, ge=50, le=4_000_000)
    """Bits per second on the line."""
    data_bits: Literal[7, 8] = 8
    """Data bits of a character."""
    parity: Literal["none", "even", "odd"] = "none"
    """Parity of a character."""
    stop_bits: Literal[1, 2] = 1
    """Stop bits of a character."""
    start: str = ""
    """What begins a frame, e.g. "\\x02" (STX); empty: nothing does."""
    ends: tuple[str, ...] = ("\r", "\n")
    """What ends a frame, any of these, e.g. ["\\x03"] (ETX)."""
    size_bytes: int = Field(default=0, ge=0, le=FRAME_BYTES_MAX)
    """Bytes of a frame, when all have the same number and none has an end; 0: they have an end."""
    check: Literal["none", "xor"] = "none"
    """`xor`: the end is followed by a byte, the exclusive or of all behind the start up to and with the end."""
    frame_bytes_max: int = Field(default=4096, ge=1, le=FRAME_BYTES_MAX)
    """A longer frame is no frame."""
    encoding: str = "utf-8"
    """Character set of a frame."""
    parse: Literal["pattern", "columns", "json", "text"] = "text"
    """What a frame says: groups of a pattern, columns, members of a JSON object, or just its text (`$frame`)."""
    patterns: tuple[str, ...] = ()
    """For `pattern`: regular expressions with named groups, e.g. `(?P<weight>[0-9.]+) kg`; the first that matches."""
    separator: str = ","
    """For `columns`: what stands between them; a blank means any number of blanks."""
    columns_count_min: int = Field(default=1, ge=1, le=1000)
    """For `columns`: a frame with fewer is none."""
    decimal_comma: bool = False
    """Whether numbers are written with a comma."""
    poll: str = ""
    """A command that makes the device answer, e.g. "SI\\r\\n"; empty: it sends by itself."""
    poll_interval: Duration = 1.0
    """How often the command is sent."""
    silence_max: Duration = 0.0
    """A device that says nothing for so long is lost. 0: it may be silent for ever, unless it is polled."""

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            codecs.lookup(name)
            "A".encode(name)
        except LookupError as error:
            raise ValueError("unknown character set, expected e.g. utf-8, latin-1, cp1252") from error
        return name

    @field_validator("start", "ends", "poll")
    @classmethod
    def _are_bytes(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if any(ord(character) > 255 for text in ((value,) if isinstance(value, str) else value) for character in text):
            raise ValueError("expected bytes, written as characters up to \\xff")
        return value

    @field_validator("allowed")
    @classmethod
    def _are_networks(cls, allowed: tuple[str, ...]) -> tuple[str, ...]:
        for text in allowed:
            ipaddress.ip_network(text)
        return allowed

    @model_validator(mode="after")
    def _fits_together(self) -> TextConfig:
        if self.transport == "serial" and not self.serial_port:
            raise ValueError("the transport 'serial' needs 'serial_port'")
        if self.transport == "tcp" and not (self.host and self.port):
            raise ValueError("the transport 'tcp' needs 'host' and 'port'")
        if self.transport == "listen" and not self.host:
            raise ValueError("the transport 'listen' needs 'host', the address of this machine to listen on")
        if (self.parse == "pattern") != bool(self.patterns):
            raise ValueError("'patterns' and parse: pattern go together")
        if self.parse == "columns" and not self.separator:
            raise ValueError("columns need a 'separator'")
        if self.poll and not self.poll_interval:
            raise ValueError("'poll' needs a 'poll_interval' above 0")
        try:
            self.framing()
            self.reader()
        except ConfigError as error:
            raise ValueError(f"{error.what}, expected {error.expected}, got {error.got}") from error
        return self

    def framing(self) -> Framing:
        """How frames are told apart."""
        return Framing(
            self.start.encode("latin-1"),
            tuple(end.encode("latin-1") for end in self.ends),
            self.size_bytes,
            self.check == "xor",
            self.frame_bytes_max,
        )

    def reader(self) -> Reader | None:
        """What gives the fields of a frame; None when its text is all."""
        if self.parse == "pattern":
            return PatternReader(self.patterns)
        if self.parse == "columns":
            return ColumnReader(self.separator, self.columns_count_min)
        return JsonReader() if self.parse == "json" else None


class TextTagOptions(Strict):
    """Options of one tag."""

    command: str | None = None
    """What writes a value, e.g. "SP {value:.2f}\\r\\n". None given: the tag cannot be written."""
