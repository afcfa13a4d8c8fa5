"""Assets as data."""

from __future__ import annotations

import pytest

from millstream.kernel import DecodeError
from millstream.protocols.mtconnect_assets import DEPTH_MAX, parse_assets
from millstream.protocols.mtconnect_xml import AgentError

TOOL = b"""<MTConnectAssets xmlns="urn:mtconnect.org:MTConnectAssets:1.7"><Header/><Assets>
<CuttingTool assetId="T 1" serialNumber="7" timestamp="2026-01-01T00:00:00Z" toolId="KS">
<CuttingToolLifeCycle><CutterStatus><Status>USED</Status><Status>MEASURED</Status></CutterStatus>
<ToolLife type="MINUTES" limit="100">12.5</ToolLife></CuttingToolLifeCycle></CuttingTool>
<File assetId="f" removed="true"/></Assets></MTConnectAssets>"""


def test_an_asset_has_its_attributes_and_elements_by_name() -> None:
    found = parse_assets(TOOL)
    assert not isinstance(found, AgentError)
    tool, file = found
    assert (tool.asset_id, tool.asset_type, tool.time_ns) == ("T 1", "CuttingTool", 1_767_225_600_000_000_000)
    assert tool.content["serialNumber"] == "7"
    assert tool.content["CuttingToolLifeCycle"] == {
        "CutterStatus": {"Status": ["USED", "MEASURED"]},
        "ToolLife": {"type": "MINUTES", "limit": "100", "value": 12.5},
    }
    assert (file.asset_type, file.time_ns, file.is_removed) == ("File", None, True)


def test_an_error_is_given_and_another_document_refused() -> None:
    error = b"<MTConnectError><Errors><Error errorCode='ASSET_NOT_FOUND'>no</Error></Errors></MTConnectError>"
    assert parse_assets(error) == AgentError("ASSET_NOT_FOUND", "no")
    deep = b"<a>" * (DEPTH_MAX + 2) + b"</a>" * (DEPTH_MAX + 2)
    for document in (
        b"<html/>",
        b"",
        b"<MTConnectAssets><Assets><A assetId='1'>" + deep + b"</A></Assets></MTConnectAssets>",
    ):
        with pytest.raises(DecodeError):
            parse_assets(document)
