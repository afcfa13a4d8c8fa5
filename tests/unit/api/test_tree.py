"""A part of the namespace: what is opened, what is counted, and in which order tags come."""

from __future__ import annotations

from millstream.api._tree import part_of
from millstream.historian import TagEntry


def entries(*paths: str) -> list[TagEntry]:
    """As the history knows them."""
    return [TagEntry(number, path) for number, path in enumerate(paths)]


PLANT = entries("a/p1/oven:t10", "a/p1/oven:t2", "a/p1/press:t1", "a/p2/saw:t1", "a/p2/saw:t2", "a/p2:power")


def test_it_opens_levels_while_they_are_few_and_lists_tags_from_top_to_bottom() -> None:
    part = part_of(PLANT, "", open_count=12, limit=100)
    assert part.count == 6
    assert [entry.path for entry in part.tags] == [
        "a/p1/oven:t2", "a/p1/oven:t10", "a/p1/press:t1", "a/p2/saw:t1", "a/p2/saw:t2", "a/p2:power",
    ]  # fmt: skip
    counts = {place.path: place.count for place in part.places}
    assert counts == {"a": 6, "a/p1": 3, "a/p2": 3, "a/p1/oven": 2, "a/p1/press": 1, "a/p2/saw": 2}
    assert all(place.is_whole for place in part.places)


def test_what_would_open_too_many_stays_closed_and_is_counted() -> None:
    part = part_of(PLANT, "", open_count=3, limit=100)
    assert {(place.path, place.is_whole) for place in part.places} == {
        ("a", True), ("a/p1", True), ("a/p2", True), ("a/p1/oven", False), ("a/p1/press", False), ("a/p2/saw", False),
    }  # fmt: skip
    assert [entry.path for entry in part.tags] == ["a/p2:power"]


def test_a_place_that_is_opened_has_its_tags_and_the_places_below() -> None:
    part = part_of(PLANT, "a/p2", open_count=0, limit=100)
    assert part.count == 3
    assert [entry.path for entry in part.tags] == ["a/p2:power"]
    assert {(place.path, place.count, place.is_whole) for place in part.places} == {
        ("a/p2", 3, True),
        ("a/p2/saw", 2, False),
    }
    assert part_of(PLANT, "a/p", open_count=0, limit=100).count == 0


def test_the_limit_cuts_from_below_and_says_which_places_are_not_whole() -> None:
    part = part_of(PLANT, "", open_count=12, limit=2)
    assert [entry.path for entry in part.tags] == ["a/p1/oven:t2", "a/p1/oven:t10"]
    whole = {place.path for place in part.places if place.is_whole}
    assert whole == {"a", "a/p1", "a/p1/oven"}


def test_an_empty_plant_has_no_places() -> None:
    part = part_of([], "", open_count=12, limit=100)
    assert (part.count, part.places, part.tags) == (0, (), ())
