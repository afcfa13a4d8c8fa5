"""Releases of Millstream that come to an edge from afar: what they are, which one runs, and who starts it."""

from typing import TYPE_CHECKING

from millstream.kernel import lazy_names

if TYPE_CHECKING:
    from millstream.release._choice import (
        ENDED_KEPT,
        INSTALLED,
        STARTS_MAX,
        Choice,
        ChoiceFile,
        Ended,
        Held,
        Start,
        Trial,
        begin,
        confirm,
        counted,
        fail,
        nothing_chosen,
        python_tag,
        to_start,
    )
    from millstream.release._format import DATA_FORMAT, READABLE_BY, DataNote, check_data, note_data, read_note
    from millstream.release._launch import RESTART, Launched, data_dir_of, launch
    from millstream.release._package import PLACE, SUFFIX, Package, pack
    from millstream.release._versions import Machine, satisfies, version_key
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "_choice": "ENDED_KEPT INSTALLED STARTS_MAX Choice ChoiceFile Ended Held Start Trial begin confirm counted "
            "fail nothing_chosen python_tag to_start",
            "_format": "DATA_FORMAT READABLE_BY DataNote check_data note_data read_note",
            "_launch": "RESTART Launched data_dir_of launch",
            "_package": "PLACE SUFFIX Package pack",
            "_versions": "Machine satisfies version_key",
        },
    )

__all__ = [
    "ENDED_KEPT",
    "INSTALLED",
    "STARTS_MAX",
    "Choice",
    "ChoiceFile",
    "Ended",
    "Held",
    "Start",
    "Trial",
    "begin",
    "confirm",
    "counted",
    "fail",
    "nothing_chosen",
    "python_tag",
    "to_start",
    "DATA_FORMAT",
    "READABLE_BY",
    "DataNote",
    "check_data",
    "note_data",
    "read_note",
    "RESTART",
    "Launched",
    "data_dir_of",
    "launch",
    "PLACE",
    "SUFFIX",
    "Package",
    "pack",
    "Machine",
    "satisfies",
    "version_key",
]
