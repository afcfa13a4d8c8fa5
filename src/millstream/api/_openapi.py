"""The OpenAPI 3.1 description, made from the same tables that parse the requests."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from millstream.api._parameters import QUERIES, ROWS_DEFAULT, ROWS_MAX, Parameter
from millstream.api._render import CSV_TYPE, PARQUET_TYPE
from millstream.api._tree import OPEN_MAX, TAGS_MAX
from millstream.historian import (
    AGGREGATES,
    EVENT_KINDS,
    SAMPLE_KINDS,
    AsOf,
    Count,
    Events,
    Last,
    Names,
    QualityFilter,
    Range,
    Window,
)
from millstream.protocols.uns_payload import ARROW_TYPE, JSON_TYPE

_PLAIN = {
    "ledger": "The recount of each origin stream: messages, samples, gaps, repeats, out of order, unrecorded",
    "status": "The node and its historian: positions, lag, rows, disk",
}


def openapi(version: str) -> dict[str, Any]:
    """The whole document."""
    schemas, components = msgspec.json.schema_components(
        [Last, Range, Window, AsOf, Count, Events, Names], ref_template="#/components/schemas/{name}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Millstream",
            "version": version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(list(schemas)),
        "security": [{"token": []}],
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {**components, "Error": _ERROR},
        },
    }


def _paths(query_schemas: list[dict[str, Any]]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for kind, (_, about, parameters) in QUERIES.items():
        paths[f"/api/v1/{kind}"] = {
            "get": {
                "operationId": kind,
                "summary": about,
                "parameters": [_parameter(p) for p in (*parameters, _FORMAT)],
                "responses": _responses(_TABLE),
            }
        }
    paths["/api/v1/query"] = {
        "post": {
            "operationId": "query",
            "summary": "Any query, in the JSON form that also goes over NATS",
            "requestBody": {"required": True, "content": {JSON_TYPE: {"schema": {"oneOf": query_schemas}}}},
            "responses": _responses(_TABLE),
        }
    }
    paths["/api/v1/tags"] = {
        "get": {
            "operationId": "tags",
            "summary": "Known tags with their descriptions",
            "parameters": [
                {
                    "name": "pattern",
                    "in": "query",
                    "schema": {"type": "string", "default": "*"},
                    "description": "shell pattern over names",
                },
                {
                    "name": "kind",
                    "in": "query",
                    "schema": {"enum": [*SAMPLE_KINDS, *EVENT_KINDS]},
                    "description": "of this kind only; left out: of all",
                },
            ],
            "responses": _responses({JSON_TYPE: {"schema": {"type": "object"}}}),
        }
    }
    paths["/api/v1/tree"] = _tree()
    for name, about in _PLAIN.items():
        paths[f"/api/v1/{name}"] = {
            "get": {
                "operationId": name,
                "summary": about,
                "responses": _responses({JSON_TYPE: {"schema": {"type": "object"}}}),
            }
        }
    paths["/health"] = {
        "get": {
            "operationId": "health",
            "summary": "200 while the historian stores, 503 while it cannot",
            "security": [],
            "responses": {"200": {"description": "it stores"}, "503": {"description": "it does not"}},
        }
    }
    paths["/metrics"] = {
        "get": {
            "operationId": "metrics",
            "summary": "Prometheus text",
            "responses": _responses({"text/plain": {}}),
        }
    }
    return paths


def _tree() -> dict[str, Any]:
    return {
        "get": {
            "operationId": "tree",
            "summary": "A part of the namespace: places with the number of tags below, tags of what is open, in order",
            "parameters": [
                {"name": name, "in": "query", "schema": schema, "description": about}
                for name, schema, about in (
                    ("place", {"type": "string", "default": ""}, "what to open; left out: the root"),
                    (
                        "open",
                        {"type": "integer", "minimum": 0, "maximum": OPEN_MAX, "default": 0},
                        "levels below are opened, too, while that opens no more places than this",
                    ),
                    ("limit", {"type": "integer", "minimum": 0, "maximum": TAGS_MAX}, "tags at most"),
                    ("values", {"type": "boolean", "default": False}, "with the newest values, by kind in `last`"),
                )
            ],
            "responses": _responses({JSON_TYPE: {"schema": {"type": "object"}}}),
        }
    }


_FORMAT = Parameter("format", "format", "format", "json, csv, arrow or parquet; wins over the Accept header")
_TABLE = {
    JSON_TYPE: {
        "schema": {
            "type": "object",
            "properties": {
                "data": {"type": "array", "items": {"type": "object"}},
                "truncated": {"type": "boolean"},
            },
        }
    },
    CSV_TYPE: {"schema": {"type": "string"}},
    ARROW_TYPE: {"schema": {"type": "string", "format": "binary"}},
    PARQUET_TYPE: {"schema": {"type": "string", "format": "binary"}},
}
_ERROR = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {n: {"type": ["string", "null"]} for n in ("code", "message", "where", "expected", "got", "hint")},
}


def _responses(content: dict[str, Any]) -> dict[str, Any]:
    error = {JSON_TYPE: {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"200": {"description": "the answer", "content": content}} | {
        code: {"description": text, "content": error}
        for code, text in (
            ("400", "the request is malformed"),
            ("401", "no token, or a wrong one"),
            ("404", "no such tag"),
            ("503", "the history cannot be read now"),
        )
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    forms: dict[str, dict[str, Any]] = {
        "flag": {"type": "boolean"},
        "count": {"type": "integer", "minimum": 1, "maximum": ROWS_MAX, "default": ROWS_DEFAULT},
        "quality": {"enum": list(get_args(QualityFilter))},
        "aggregates": {"enum": list(AGGREGATES)},
        "kind": {"enum": list(SAMPLE_KINDS), "default": "tag"},
        "kinds": {"enum": list(SAMPLE_KINDS)},
        "event_kind": {"enum": list(EVENT_KINDS), "default": "event"},
        "format": {"enum": ["json", "csv", "arrow", "parquet"]},
    }
    one = forms.get(parameter.form, {"type": "string"})
    is_list = parameter.form in ("names", "times", "aggregates", "kinds")
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.is_required,
        "description": parameter.about,
        "schema": {"type": "array", "items": one} if is_list else one,
    }
