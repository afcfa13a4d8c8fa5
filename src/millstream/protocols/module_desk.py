"""What people ask of a hub about modules, below a path (`below.MODULE`). Pure.

The form is that of `config_desk`. A module is pushed in one upload: "begin" with the signed manifest, "chunk" by
"chunk" in order, "end"; a chunk that is sent again, since its answer was lost, is taken once. The hub counts the bytes
and proves the digest, and tells of modules which somebody signed who signs for something below the path.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from millstream.protocols.config_desk import decode_with


class ModuleAsk(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One question. "list": the modules of this path; "begin": with the manifest that follows; "chunk": chunk `index`
    of `upload` follows; "end" of `upload`; "remove" the module `digest`, as `who` asks."""

    action: Literal["list", "begin", "chunk", "end", "remove"]
    upload: str = ""
    index: int = 0
    digest: str = ""
    who: str = ""


_asks = msgspec.json.Decoder(ModuleAsk)


def decode_module_ask(payload: bytes) -> tuple[ModuleAsk, bytes]:
    """The question and what follows it. Raises DecodeError (MS-2418)."""
    return decode_with(_asks, payload)
