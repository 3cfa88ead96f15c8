"""Frozen parameters, their bracket notation, and what they contribute to a key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from bench.errors import BenchError
from bench.params import (
    Params,
    RuntimeOnly,
    canonical_json,
    digest,
    format_brackets,
    parse_brackets,
    quoted,
    split_outside_brackets,
)
from bench.stage import Part


class Cook(Params):
    rounds: int = Field(default=2, ge=1)
    heat: float = 0.5
    stir: bool = False
    pot: Literal["small", "large"] = "small"
    kitchen: Annotated[Path, RuntimeOnly()] = Path("here")


class Spice(Part):
    version: ClassVar[int] = 1
    grams: int = 1
    shelf: Annotated[Path, RuntimeOnly()] = Path("there")


class Salt(Part):
    version: ClassVar[int] = 1
    grams: int = 1
    shelf: Annotated[Path, RuntimeOnly()] = Path("there")


class Meal(Part):
    cook: Cook = Cook()
    spices: tuple[Part, ...] = ()
    by_name: dict[str, Part] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("naive", ("naive", {})),
        ("naive[]", ("naive", {})),
        (" inerrant[ rounds = 3 , score=mcp ] ", ("inerrant", {"rounds": "3", "score": "mcp"})),
        ("openkbp[where=tier=A]", ("openkbp", {"where": "tier=A"})),
        ("unet/resnet34[weights=imagenet]", ("unet/resnet34", {"weights": "imagenet"})),
        (
            "smoke[steps=3,network=unet_t11[width=8,name=x],lr=1e-3]",
            ("smoke", {"steps": "3", "network": "unet_t11[width=8,name=x]", "lr": "1e-3"}),
        ),
    ],
)
def test_brackets_are_read(text: str, expected: tuple[str, dict[str, str]]) -> None:
    assert parse_brackets(text) == expected


@pytest.mark.parametrize("text", ["a[b=1", "a]b=1[", "a[b]", "[b=1]", "a[=1]", "a[b=1]c", ""])
def test_unreadable_brackets_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(BenchError, match="cannot read") as caught:
        parse_brackets(text)
    assert "\n" not in str(caught.value)


@given(name=st.text(min_size=1), value=st.text(min_size=1))
def test_any_text_can_be_named_in_double_quotes(name: str, value: str) -> None:
    text = f"{quoted(name)}[a={quoted(value)},b=1]"
    if name.strip() == name and value.strip() == value:
        assert parse_brackets(text) == (name, {"a": value, "b": "1"})
    else:  # white space at the ends is kept in quotes alone
        assert split_outside_brackets(f"{text},other") == [text, "other"]


def test_a_parameter_that_is_given_twice_is_refused() -> None:
    for text in ("smoke[steps=20,steps=30]", "naive[ a = 1,a=1]"):
        with pytest.raises(BenchError, match=r"(steps|a) is given twice in '(smoke|naive)"):
            parse_brackets(text)
    assert parse_brackets("a[b=c[d=1],d=2]") == ("a", {"b": "c[d=1]", "d": "2"})


def test_a_list_is_split_at_its_own_commas_only() -> None:
    text = "naive, inerrant[rounds=3,score=mcp],smoke[steps=3,network=unet_t11[width=8]] ,full"
    assert split_outside_brackets(text) == [
        "naive",
        "inerrant[rounds=3,score=mcp]",
        "smoke[steps=3,network=unet_t11[width=8]]",
        "full",
    ]


@given(
    st.builds(
        Cook,
        rounds=st.integers(1, 10**6),
        heat=st.floats(allow_nan=False, allow_infinity=False),
        stir=st.booleans(),
        pot=st.sampled_from(["small", "large"]),
    )
)
def test_notation_round_trips_to_the_last_digit(cook: Cook) -> None:
    name, overrides = parse_brackets(format_brackets("cook", cook.overrides()))
    assert Cook.from_overrides("cook", name, overrides) == cook


def test_the_notation_shows_only_what_differs_and_never_a_runtime_setting() -> None:
    assert format_brackets("cook", Cook(kitchen=Path("elsewhere")).overrides()) == "cook"
    assert format_brackets("cook", Cook(stir=True, heat=0.25).overrides()) == (
        "cook[heat=0.25,stir=true]"
    )


def test_a_mistyped_parameter_gets_a_suggestion() -> None:
    with pytest.raises(BenchError, match=r"unknown parameter of cook c 'ronds'.*rounds"):
        Cook.from_overrides("cook", "c", {"ronds": "3"})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"rounds": "0"}, r"rounds='0' must be at least 1"),
        ({"rounds": "three"}, r"rounds='three' must be a whole number"),
        ({"pot": "huge"}, r"pot='huge'.*'small' or 'large'"),
    ],
)
def test_a_bad_value_is_named_in_one_line(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(BenchError, match=message) as caught:
        Cook.from_overrides("cook", "c", overrides)
    assert "\n" not in str(caught.value)


def test_parameters_are_frozen_and_unknown_ones_refused() -> None:
    with pytest.raises(ValidationError):
        Cook().rounds = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Cook(ronds=3)  # type: ignore[call-arg]


def test_identity_holds_defaults_and_no_runtime_setting() -> None:
    assert Cook(kitchen=Path("elsewhere")).identity() == {
        "rounds": 2,
        "heat": 0.5,
        "stir": False,
        "pot": "small",
    }


def test_runtime_settings_of_nested_parameters_stay_out_too() -> None:
    here = Meal(cook=Cook(), spices=(Spice(),), by_name={"a": Salt()})
    there = Meal(
        cook=Cook(kitchen=Path("x")),
        spices=(Spice(shelf=Path("x")),),
        by_name={"a": Salt(shelf=Path("x"))},
    )
    assert digest(here.identity()) == digest(there.identity())
    assert "there" not in canonical_json(here.identity())


@pytest.mark.parametrize(
    "other",
    [
        Meal(cook=Cook(rounds=3)),
        Meal(spices=(Spice(),)),
        Meal(spices=(Salt(),)),
        Meal(spices=(Spice(grams=2),)),
        Meal(spices=(Spice(), Spice())),
        Meal(by_name={"a": Spice()}),
        Meal(by_name={"b": Spice()}),
    ],
)
def test_nested_values_kinds_and_order_enter_the_identity(other: Meal) -> None:
    known = [Meal(), Meal(spices=(Salt(), Spice())), Meal(spices=(Spice(), Salt()))]
    assert len({digest(meal.identity()) for meal in [*known, other]}) == 4


def test_versions_and_defaults_enter_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(Meal(spices=(Spice(),)).identity())
    monkeypatch.setattr(Spice, "version", 2)
    assert digest(Meal(spices=(Spice(),)).identity()) != before

    class Cook(Params):
        rounds: int = 2
        heat: float = 0.75
        stir: bool = False
        pot: str = "small"

    assert digest(Cook().identity()) != digest(globals()["Cook"]().identity())


def test_canonical_json_does_not_depend_on_order_and_refuses_nan() -> None:
    assert canonical_json({"b": 1, "a": [1.0]}) == '{"a":[1.0],"b":1}'
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json({"a": float("nan")})
