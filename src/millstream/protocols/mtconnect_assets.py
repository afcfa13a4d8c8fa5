"""MTConnectAssets documents (MTConnect Part 4) as data: tools, fixtures, files, whatever a machine keeps."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

from millstream.kernel import DecodeError
from millstream.model import Value
from millstream.protocols.mtconnect_xml import AgentError, parse_xml
from millstream.protocols.shdr import Kind, decode_value, parse_time_ns

DEPTH_MAX = 32  # of elements in elements; a cutting tool has about 8


@dataclass(frozen=True, slots=True)
class AssetDocument:
    """One asset. `content` has its attributes and child elements by name; an element that repeats is a list."""

    asset_id: str
    asset_type: str
    time_ns: int | None
    is_removed: bool
    content: dict[str, Value]


def parse_assets(document: bytes) -> list[AssetDocument] | AgentError:
    """The assets of a document, or the error that the agent sent instead. Raises DecodeError."""
    root = parse_xml(document)
    if root.tag == "MTConnectError":
        first = next(root.iter("Error"), None)
        code = first.get("errorCode", "UNKNOWN") if first is not None else "UNKNOWN"
        return AgentError(code, (first.text or "").strip() if first is not None else "")
    if root.tag != "MTConnectAssets":
        raise DecodeError("not an MTConnectAssets document", got=root.tag, code="MS-0305")
    return [_asset(element) for element in root.iterfind("Assets/*") if element.get("assetId")]


def _asset(element: ElementTree.Element) -> AssetDocument:
    try:
        time_ns: int | None = parse_time_ns(element.get("timestamp", ""))
    except ValueError:
        time_ns = None
    content = _content(element, 0)
    return AssetDocument(
        element.get("assetId", ""),
        element.tag,
        time_ns,
        element.get("removed") == "true",
        content if isinstance(content, dict) else {"value": content},
    )


def _content(element: ElementTree.Element, depth: int) -> Value:
    if depth > DEPTH_MAX:
        raise DecodeError("asset is nested too deeply", expected=f"at most {DEPTH_MAX} levels", code="MS-0305")
    text = (element.text or "").strip()
    if not len(element) and not element.attrib:
        return _text(text)
    found: dict[str, Value] = dict(element.attrib)
    for child in element:
        value = _content(child, depth + 1)
        held = found.get(child.tag)
        if isinstance(held, list):
            held.append(value)
        else:
            found[child.tag] = value if child.tag not in found else [found[child.tag], value]
    if text:
        found["value"] = _text(text)
    return found


def _text(text: str) -> Value:
    value, _ = decode_value(Kind.AUTO, (text,))
    return text if value is None else value
