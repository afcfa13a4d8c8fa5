"""What a change of a contract is said to do against what it does, for schemas and values that nobody thought of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from millstream.model import AssetPath, TagPath
from millstream.protocols.contract import Contract, compare
from millstream.protocols.contract_schema import Validator, check_schema, narrowings
from millstream.protocols.uns_pattern import Pattern, covers, overlap
from millstream.protocols.uns_subject import UnsAddress

QUICK = settings(max_examples=120, deadline=None)
NUMBERS = st.one_of(st.integers(-6, 6), st.sampled_from([-2.5, -0.5, 0.5, 1.0, 2.5, 3.0]))
TEXTS = st.text("ab", max_size=4)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("pqr"), inner, max_size=3)),
    max_leaves=6,
)


def some(**keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keywords)


LEAVES = st.one_of(
    st.booleans(),
    st.builds(lambda v: {"const": v}, SCALARS),
    st.builds(lambda v: {"enum": v}, st.lists(SCALARS, min_size=1, max_size=4, unique_by=repr)),
    some(
        type=st.one_of(
            st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"]),
            st.lists(st.sampled_from(["null", "integer", "number", "string"]), min_size=1, max_size=3, unique=True),
        ),
        minimum=NUMBERS, maximum=NUMBERS, exclusiveMinimum=NUMBERS, exclusiveMaximum=NUMBERS,
        multipleOf=st.sampled_from([1, 2, 3, 4, 0.5]), minLength=st.integers(0, 3), maxLength=st.integers(0, 4),
        pattern=st.sampled_from(["^a", "b$", "a+"]), minItems=st.integers(0, 2), maxItems=st.integers(0, 3),
        uniqueItems=st.booleans(),
    ),
)  # fmt: skip


def composed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(lambda branches: {"anyOf": branches}, st.lists(inner, min_size=1, max_size=3)),
        some(type=st.just("array"), items=inner, maxItems=st.integers(0, 3)),
        some(
            type=st.just("object"),
            properties=st.dictionaries(st.sampled_from("pqr"), inner, max_size=2),
            required=st.lists(st.sampled_from("pqr"), max_size=2, unique=True),
            additionalProperties=inner,
        ),
    )


SCHEMAS = st.recursive(LEAVES, composed, max_leaves=4)


@st.composite
def loosened(draw: st.DrawFn) -> tuple[Any, Any]:
    """A schema and one made from it by taking a limit away or by adding a branch."""
    schema = draw(SCHEMAS)
    if isinstance(schema, bool) or draw(st.booleans()):
        return schema, {"anyOf": [schema, draw(SCHEMAS)]}
    keys = [k for k in schema if k not in ("properties", "additionalProperties", "items")]
    if not keys:
        return schema, True
    gone = draw(st.sampled_from(keys))
    return schema, {k: v for k, v in schema.items() if k != gone}


KEYWORDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "number": {
        "minimum": NUMBERS, "maximum": NUMBERS, "exclusiveMinimum": NUMBERS, "exclusiveMaximum": NUMBERS,
        "multipleOf": st.sampled_from([1, 2, 3, 4, 0.5]),
    },
    "string": {
        "minLength": st.integers(0, 3), "maxLength": st.integers(0, 4), "pattern": st.sampled_from(["^a", "b$", "a+"])
    },
    "array": {
        "items": LEAVES, "minItems": st.integers(0, 2), "maxItems": st.integers(0, 3), "uniqueItems": st.booleans()
    },
    "object": {
        "properties": st.dictionaries(st.sampled_from("pq"), LEAVES, max_size=2), "additionalProperties": LEAVES,
        "required": st.lists(st.sampled_from("pqr"), max_size=2, unique=True),
    },
}  # fmt: skip
KEYWORDS["integer"] = KEYWORDS["number"]
FITTING = {
    "number": NUMBERS, "integer": st.integers(-6, 6), "string": TEXTS,
    "array": st.lists(st.sampled_from([0, 1, "a", None]), max_size=4),
    "object": st.dictionaries(st.sampled_from("pqr"), SCALARS, max_size=3),
}  # fmt: skip


@st.composite
def tweaked(draw: st.DrawFn) -> tuple[Any, Any, list[Any]]:
    """A schema of one type, the same with one keyword said otherwise, and values of the type."""
    kind = draw(st.sampled_from(sorted(KEYWORDS)))
    keyword, other = (draw(st.sampled_from(sorted(KEYWORDS[kind]))) for _ in range(2))
    said = {name: draw(KEYWORDS[kind][name]) for name in sorted({keyword, other}) if draw(st.booleans())}
    old = {"type": kind, **said}
    new = {**old, keyword: draw(KEYWORDS[kind][keyword])}
    return old, new, draw(st.lists(FITTING[kind], min_size=10, max_size=30))


@settings(max_examples=400, deadline=None)
@given(tweaked())
def test_a_keyword_said_otherwise_takes_nothing_away_unless_told(case: tuple[Any, Any, list[Any]]) -> None:
    old, new, values = case
    if narrowings(old, new):
        return
    before, after = Validator(old), Validator(new)
    for value in values:
        assert not before.is_valid(value) or after.is_valid(value), value


@QUICK
@given(st.one_of(st.tuples(SCHEMAS, SCHEMAS), loosened()), st.lists(VALUES, min_size=10, max_size=40))
def test_what_fits_the_old_schema_fits_one_that_takes_nothing_away(pair: tuple[Any, Any], values: list[Any]) -> None:
    old, new = pair
    assert not check_schema(old)
    assert not check_schema(new)
    assume(not narrowings(old, new))
    before, after = Validator(old), Validator(new)
    for value in values:
        assert not before.is_valid(value) or after.is_valid(value), value


@QUICK
@given(SCHEMAS)
def test_a_schema_takes_nothing_away_from_itself(schema: Any) -> None:
    assert narrowings(schema, schema) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": "integer"}, {"type": "number"}),
        ({"type": "number", "minimum": 0}, {"type": "number", "exclusiveMinimum": -1}),
        ({"type": "number"}, {"type": ["number", "null"]}),
        ({"enum": ["run", "idle"]}, {"enum": ["run", "idle", "down"]}),
        ({"enum": [1, 2]}, {"type": "integer", "maximum": 2}),
        ({"type": "boolean"}, {"enum": [True, False, "on"]}),
        ({"type": "string", "maxLength": 4}, {"type": "string", "maxLength": 8}),
        ({"type": "integer", "multipleOf": 4}, {"type": "integer", "multipleOf": 2}),
        (
            {
                "type": "object", "additionalProperties": False, "required": ["p"],
                "properties": {"p": {"type": "integer"}},
            },
            {
                "type": "object", "additionalProperties": False,
                "properties": {"p": {"type": "number"}, "q": {"type": "string"}},
            },
        ),
        ({"type": "array", "items": {"type": "integer"}}, {"type": "array", "items": {"type": "number"}}),
        ({"type": "string"}, {"anyOf": [{"type": "number"}, {"type": "string"}]}),
        ({"type": "string", "title": "a"}, {"type": "string", "title": "b", "x-owner": "me"}),
    ],
)  # fmt: skip
def test_a_wider_schema_is_additive(old: Any, new: Any) -> None:
    assert compare(contract(schema=old), contract(schema=new))[0] == "additive"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"type": "number"}, {"type": "integer"}, "type number is no longer allowed"),
        ({"type": "number"}, {"type": "number", "maximum": 9}, "the upper bound is tighter"),
        ({"type": "number", "minimum": 0}, {"type": "number", "exclusiveMinimum": 0}, "the lower bound is tighter"),
        ({"enum": ["run", "idle"]}, {"enum": ["run"]}, 'no longer allowed: "idle"'),
        ({"type": "string"}, {"enum": ["run"]}, "only listed values are allowed now, before any such string"),
        ({"type": "object"}, {"type": "object", "required": ["p"]}, "'p' is required now"),
        (
            {"type": "object"},
            {"type": "object", "properties": {"p": {"type": "string"}}},
            "'p' was free before; close an object with additionalProperties: false to add to it later",
        ),
        (
            {"type": "object", "properties": {"p": {"type": "array", "items": {"type": "number"}}}},
            {"type": "object", "properties": {"p": {"type": "array", "items": {"type": "string"}}}},
            "p[]: type number is no longer allowed",
        ),
        (True, {"anyOf": [{"type": "string"}]}, "no branch of anyOf takes every number"),
    ],
)
def test_a_narrower_schema_is_breaking_and_says_where(old: Any, new: Any, said: str) -> None:
    verdict, changes = compare(contract(schema=old), contract(schema=new))
    assert verdict == "breaking"
    assert said in [change.what for change in changes]


def contract(**said: Any) -> Contract:
    return Contract(**{"name": "c", "kind": "tag", "paths": ("a/b:x",), **said})


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ({}, {}, "same"),
        ({}, {"description": "words"}, "additive"),
        ({}, {"unit": "bar"}, "breaking"),
        ({"unit": "bar"}, {}, "additive"),
        ({"columns": ("int64",)}, {"columns": ("int64", "float64")}, "additive"),
        ({}, {"columns": ("int64",)}, "breaking"),
        ({}, {"paths": ("a/b:x", "a/c:x")}, "breaking"),
        ({"paths": ("a/**:*",)}, {}, "additive"),
        ({}, {"kind": "count"}, "breaking"),
        ({}, {"is_enforced": False, "schema": False}, "additive"),
        ({"is_enforced": False}, {}, "breaking"),
        ({"kind": "event", "event_type": "com.acme.*"}, {"kind": "event", "event_type": "com.acme.part"}, "additive"),
        ({"kind": "event", "event_type": "com.acme.part"}, {"kind": "event"}, "breaking"),
    ],
)
def test_all_that_a_contract_says_is_compared(old: dict[str, Any], new: dict[str, Any], verdict: str) -> None:
    assert compare(contract(**old), contract(**new))[0] == verdict


def test_the_first_version_of_a_contract_is_new() -> None:
    assert compare(None, contract()) == ("new", [])


LEVELS = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=3)
PARTS = st.lists(st.sampled_from(["a", "b", "ab", "*", "a*", "*b", "**"]), min_size=1, max_size=4)
PATTERNS = st.builds(lambda place, names: Pattern.parse("/".join(place) + ":" + "/".join(names)), PARTS, PARTS)
ADDRESSES = st.builds(lambda place, names: UnsAddress(AssetPath(tuple(place)), "_tag", tuple(names)), LEVELS, LEVELS)


@QUICK
@given(PATTERNS, PATTERNS, st.lists(ADDRESSES, min_size=5, max_size=30))
def test_patterns_that_cover_and_meet_do_so(one: Pattern, other: Pattern, addresses: list[UnsAddress]) -> None:
    assert covers(one, one)
    for address in addresses:
        if other.matches(address):
            assert not covers(one, other) or one.matches(address)
            assert not one.matches(address) or overlap(one, other)


def test_patterns_that_share_nothing_do_not_meet() -> None:
    press, other = Pattern.parse("acme/**/press*:*"), Pattern.parse("acme/plant1/mill:**")
    assert not overlap(press, other)
    assert overlap(press, Pattern.parse("**:temperature"))
    assert TagPath.parse("acme/press:x").names == ("x",)
