"""What is said when a library that comes with an extra is missing."""

from __future__ import annotations

import importlib

import pytest

from millstream.kernel import ConfigError, needs_extra


def test_a_missing_library_is_named_with_the_extra_that_brings_it() -> None:
    with pytest.raises(ConfigError) as caught, needs_extra("the S7 connector", "s7"):
        importlib.import_module("no_such_library")
    assert str(caught.value) == (
        "the S7 connector needs no_such_library, which is not installed; pip install 'millstream[s7]' [MS-0106]"
    )


def test_a_missing_module_of_ours_stays_the_fault_that_it_is() -> None:
    with pytest.raises(ModuleNotFoundError), needs_extra("the S7 connector", "s7"):
        importlib.import_module("millstream.no_such_module")


def test_what_is_there_is_imported() -> None:
    with needs_extra("the S7 connector", "s7"):
        assert importlib.import_module("json").dumps({}) == "{}"
