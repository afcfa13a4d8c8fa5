"""What the audit says of a new configuration of a site: the revisions, and each value that differs. Pure."""

from __future__ import annotations

from typing import Any

from millstream.config._site_diff import diff_documents
from millstream.protocols.audit import act_data
from millstream.protocols.site_config import Revision

VALUES_COUNT_MAX = 40  # of one event; the history has the whole documents


def put_told(
    before: tuple[Revision, str] | None, after: tuple[Revision, str], place: str, origin: str
) -> dict[str, Any]:
    """The data of ``millstream.audit.config.put``. What cannot be read as a document has no values."""
    revision, text = after
    changes = diff_documents(before[1] if before is not None else "", text)
    key = revision.signature.key if revision.signature is not None else None
    old = None if before is None else _shown(before[0], [(one.path, one.old) for one in changes])
    return act_data(
        revision.author, origin, old, _shown(revision, [(one.path, one.new) for one in changes]), edge=revision.edge,
        place=place, key=key, kind=revision.kind, comment=revision.comment, rollout=revision.rollout or None,
        restores=revision.restores or None, changes_count=len(changes),
        changes_left_out=max(0, len(changes) - VALUES_COUNT_MAX) or None,
    )  # fmt: skip


def _shown(revision: Revision, values: list[tuple[str, str | None]]) -> dict[str, Any]:
    found = {path: value for path, value in values[:VALUES_COUNT_MAX] if value is not None}
    return {"revision": revision.revision, "digest": revision.digest, "author": revision.author, "values": found}
