"""What sources that give rows have in common: where a row has its time, and which columns are tags."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from millstream.protocols.row_mapping import LongLayout, TimeRule, WhenMissing, find_zone
from millstream.sdk._config import ConnectorConfig


def _known_zone(name: str) -> str:
    find_zone(name)
    return name


class RowConfig(ConnectorConfig):
    """What the columns of rows mean."""

    when_missing: WhenMissing = "ignore"
    """A cell without a value (SQL: NULL) gives no sample, or a bad one."""
    time_columns: tuple[str, ...] = ()
    """Where a row has its time; several are joined (date and time of day). Left out: rows have no time."""
    time_format: str = "iso"
    """Of text or numbers: iso, s, ms, us, ns (since 1970), or a format of strptime, e.g. "%d.%m.%Y %H:%M:%S"."""
    time_zone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    """Zone of times that do not name theirs, e.g. Europe/Berlin."""
    tag_column: str | None = None
    """Long layout, one sample a row: the column with the tag's name."""
    value_column: str | None = None
    """Long layout: the column with the value."""
    quality_column: str | None = None
    """Long layout: the column with the OPC UA status code, if there is one."""

    @model_validator(mode="after")
    def _layout_fits(self) -> Self:
        if (self.tag_column is None) != (self.value_column is None):
            raise ValueError("the long layout needs both tag_column and value_column")
        if self.quality_column is not None and self.tag_column is None:
            raise ValueError("quality_column belongs to the long layout: give tag_column and value_column")
        return self

    def time_rule(self) -> TimeRule | None:
        """Where a row's time is; None when it has none."""
        if not self.time_columns:
            return None
        return TimeRule(self.time_columns, self.time_format, find_zone(self.time_zone))

    def long_layout(self) -> LongLayout | None:
        """The columns of the long layout; None with the wide one."""
        if self.tag_column is None or self.value_column is None:
            return None
        return LongLayout(self.tag_column, self.value_column, self.quality_column)
