"""A catalog with one made-up connector, so that the cases do not depend on real ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict

from millstream.kernel import ConfigError
from millstream.sdk import ConfigPath, ConnectorConfig, ConnectorInfo, ConnectorTools, Duration, SecretRef, Tag


class PlcConfig(ConnectorConfig):
    """Configuration of the made-up PLC."""

    host: str
    """Host name."""
    port: int = 5020
    """TCP port."""
    timeout: Duration = 2.0
    """How long to wait for an answer."""
    password: SecretRef | None = None
    """Password."""
    trace: ConfigPath | None = None
    """Where to write a trace."""


class PlcOptions(BaseModel):
    """Options of a tag."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    word_order: str = "big"


class PlcConnector:
    """Addresses are `D` and a number."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo("plc", "made up", "none")
    Config: ClassVar[type[ConnectorConfig]] = PlcConfig
    TagOptions: ClassVar[type[BaseModel]] = PlcOptions

    def __init__(self, config: PlcConfig, tools: ConnectorTools) -> None:
        if config.host == "refused.example":
            raise ConfigError("this host is never right", next_step="take another")

    def check_tag(self, tag: Tag) -> None:
        """An address such as D100."""
        if not (tag.address.startswith("D") and tag.address[1:].isdigit()):
            raise ConfigError("not an address of this PLC", expected="e.g. D100", got=repr(tag.address))


class Catalog(Mapping[str, Any]):
    """`plc` works, `gone` lacks its library."""

    def __getitem__(self, name: str) -> Any:
        if name == "gone":
            raise ConfigError(
                "connector 'gone' cannot be loaded: no module named 'gonelib'",
                next_step="run `pip install millstream[gone]`",
                code="MS-0106",
            )
        return {"plc": PlcConnector}[name]

    def __iter__(self) -> Iterator[str]:
        return iter(("gone", "plc"))

    def __contains__(self, name: object) -> bool:
        return name in ("gone", "plc")

    def __len__(self) -> int:
        return 2


@pytest.fixture
def catalog() -> Catalog:
    """Two connector types."""
    return Catalog()
