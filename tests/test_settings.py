"""What of settings has changed: against defaults, and against an earlier run."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from enum import Enum

from speechssl.settings import changed_fields, differences, plain, read_where_set, unread


class Kind(Enum):
    one = "one"
    two = "two"


@dataclass
class Inner:
    kind: Kind = Kind.one
    rates: list[float] = field(default_factory=lambda: [1.0])


@dataclass
class Outer:
    out: str
    inner: Inner = field(default_factory=Inner)
    names: dict[str, str] = field(default_factory=dict)
    views: int = 2


def test_changed_fields_are_those_without_their_default() -> None:
    assert changed_fields(Inner()) == []
    assert changed_fields(Inner(rates=[1.0, 2.0])) == ["rates"]


def test_each_difference_has_its_name_and_both_values() -> None:
    earlier = plain(Outer("a", Inner(Kind.two), {"x": "1"}))
    assert earlier == {"out": "a", "inner": {"kind": "two", "rates": [1.0]}, "names": {"x": "1"}, "views": 2}
    assert not list(differences(Outer("a", Inner(Kind.two), {"x": "1"}), earlier))
    assert list(differences(Outer("b", names={"x": "1", "y": "2"}), earlier)) == [
        ("inner.kind", "two", "one"),
        ("names.y", None, "2"),
        ("out", "a", "b"),
    ]


def test_what_an_earlier_version_did_not_know_had_its_default() -> None:
    earlier = copy.deepcopy(plain(Outer("a")))
    del earlier["views"], earlier["inner"]["kind"]
    assert not list(differences(Outer("a"), earlier))
    assert list(differences(Outer("a", Inner(Kind.two), views=3), earlier)) == [
        ("inner.kind", "one", "two"),
        ("views", 2, 3),
    ]


def test_what_this_version_no_longer_knows_has_changed() -> None:
    assert list(differences(Outer("a"), {**plain(Outer("a")), "gone": 1})) == [("gone", 1, None)]


@dataclass
class Weighted:
    weight: float = 0.0
    folder: str | None = None
    width: int = field(default=4, metadata=read_where_set("weight"))
    depth: int = field(default=2, metadata=read_where_set("folder"))


def test_a_setting_may_be_read_where_another_one_is_set() -> None:
    assert unread(Weighted, vars(Weighted()), "width") == ("weight", ())
    assert unread(Weighted, vars(Weighted(0.5)), "width") is None
    assert unread(Weighted, vars(Weighted(0.5)), "depth") == ("folder", ())
    assert unread(Weighted, vars(Weighted(folder="a")), "depth") is None
