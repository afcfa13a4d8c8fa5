"""How a site stands to what it should run, in a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millstream.client._site_configs import SiteRevision


def site_state(edge: str, newest: SiteRevision | None, report: Mapping[str, Any] | None) -> dict[str, object]:
    """One site for people and programs. `state` is healthy, own file, waiting, trying, rolled back, refused, declined,
    drifted or away."""
    desired = newest.revision.revision if newest is not None else 0
    row: dict[str, object] = {
        "edge": edge, "desired": desired, "runs": report.get("revision") if report else None,
        "author": newest.revision.author if newest else None, "why": None, "report": report,
    }  # fmt: skip
    failure = (report or {}).get("failure")
    if report is None:
        return {**row, "state": "away"}
    if desired and not report["accepts"]:
        return {**row, "state": "declined", "why": "the edge's file says `managed: {accept: false}`"}
    if report["phase"] != "settled":
        return {**row, "state": "trying"}
    if failure and failure["revision"] == desired and desired:
        return {**row, "state": "rolled back" if failure.get("is_rolled_back") else "refused",
                "why": f"{failure['reason']} [{failure['code']}]"}  # fmt: skip
    if report["revision"] != desired or (newest is not None and report["digest"] != newest.revision.digest):
        return {**row, "state": "waiting" if report["seen"] < desired else "drifted"}
    if report.get("is_file_edited"):
        return {**row, "state": "drifted", "why": "the edge's file was edited; the revision counts [MS-2414]"}
    return {**row, "state": "healthy" if desired else "own file"}
