"""Parameters are checked strictly: nothing is converted, nothing is overlooked."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt

from retrieval_eval.errors import InputError
from retrieval_eval.parameters import (
    NoParameters,
    describe_parameters,
    make_parameters,
)

WHERE = "index 'toy'"


@dataclass(frozen=True)
class Toy:
    path: str
    M: Annotated[int, Ge(2), Le(64)] = 16
    ratio: Annotated[float, Gt(0), Lt(1)] = 0.5
    normalize: bool = True
    kind: Literal["fast", "exact"] = "fast"
    dim: Annotated[int, Ge(1)] | None = None
    levels: list[int] = field(default_factory=lambda: [1, 2])


def make(**values: Any) -> Toy:
    return make_parameters(Toy, {"path": "p", **values}, WHERE)


def test_what_is_left_out_keeps_its_default() -> None:
    assert make() == Toy(path="p")
    assert make(M=2, normalize=False, dim=3) == Toy(path="p", M=2, normalize=False, dim=3)


def test_defaults_are_not_shared_between_instances() -> None:
    first, second = make(), make()
    assert first.levels == second.levels == [1, 2]
    assert first.levels is not second.levels


def test_parameters_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        make().M = 3  # type: ignore[misc]


def test_the_mapping_that_was_given_is_not_changed() -> None:
    given = {"path": "p", "levels": [3]}
    made = make_parameters(Toy, given, WHERE)
    assert given == {"path": "p", "levels": [3]}
    assert made.levels == [3]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("M", True),
        ("M", False),
        ("M", "16"),
        ("M", 16.0),
        ("M", 16.5),
        ("M", None),
        ("M", [16]),
        ("ratio", "0.5"),
        ("ratio", True),
        ("normalize", 1),
        ("normalize", 0),
        ("normalize", "true"),
        ("normalize", "yes"),
        ("path", 7),
        ("path", None),
        ("path", b"p"),
        ("kind", "slow"),
        ("kind", "FAST"),
        ("kind", 1),
        ("dim", "3"),
        ("dim", True),
        ("levels", "12"),
        ("levels", [1, "2"]),
        ("levels", 3),
    ],
)
def test_a_value_of_another_type_is_refused_not_converted(name: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        make(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"{WHERE}: parameter '{name}")
    assert "\n" not in message


def test_an_error_shows_the_value_that_was_given() -> None:
    with pytest.raises(InputError, match=r"'M' is '16': .*integer"):
        make(M="16")


@pytest.mark.parametrize(
    ("name", "value", "bound"),
    [
        ("M", 1, "2"),
        ("M", 65, "64"),
        ("M", -(10**30), "2"),
        ("ratio", 0.0, "0"),
        ("ratio", 1.0, "1"),
        ("ratio", -0.5, "0"),
        ("dim", 0, "1"),
    ],
)
def test_a_value_out_of_range_is_refused_naming_value_and_bound(
    name: str, value: Any, bound: str
) -> None:
    with pytest.raises(InputError) as caught:
        make(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"{WHERE}: parameter '{name}")
    assert f" is {value!r}: " in message
    assert message.rsplit(": ", maxsplit=1)[-1].rstrip().endswith(bound)


@pytest.mark.parametrize(("name", "value"), [("M", 2), ("M", 64), ("ratio", 1e-12), ("dim", 1)])
def test_the_ends_of_a_range_belong_to_it(name: str, value: Any) -> None:
    assert getattr(make(**{name: value}), name) == value


def test_a_whole_number_may_stand_for_a_float() -> None:
    @dataclass(frozen=True)
    class Weight:
        weight: float = 0.5

    assert make_parameters(Weight, {"weight": 2}, WHERE).weight == 2.0


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(InputError, match=r"^index 'toy': parameter 'path' is required$"):
        make_parameters(Toy, {"M": 4}, WHERE)


@pytest.mark.parametrize(
    ("given", "meant"),
    [("m", "M"), ("PATH", "path"), ("Ratio", "ratio"), ("normalise", "normalize"), ("pth", "path")],
)
def test_an_unknown_parameter_suggests_the_nearest_even_if_only_case_differs(
    given: str, meant: str
) -> None:
    with pytest.raises(InputError) as caught:
        make(**{given: 4})
    assert str(caught.value) == (
        f"{WHERE}: unknown parameter {given!r}. Did you mean {meant!r}? "
        "Available: M, dim, kind, levels, normalize, path, ratio"
    )


def test_an_unknown_parameter_far_from_every_name_gets_no_suggestion() -> None:
    with pytest.raises(InputError) as caught:
        make(zzz=4)
    assert "Did you mean" not in str(caught.value)
    assert "unknown parameter 'zzz'" in str(caught.value)


def test_a_key_that_is_no_string_is_unknown() -> None:
    with pytest.raises(InputError, match="unknown parameter 7"):
        make_parameters(Toy, {"path": "p", 7: 1}, WHERE)  # type: ignore[dict-item]


def test_what_has_no_parameters_takes_none() -> None:
    assert make_parameters(NoParameters, {}, WHERE) == NoParameters()
    with pytest.raises(InputError, match=r"unknown parameter 'M'\. Available: none"):
        make_parameters(NoParameters, {"M": 1}, WHERE)


@dataclass(frozen=True)
class Pair:
    low: int = 1
    high: int = 2

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise InputError("low is above high")


def test_a_rule_between_two_parameters_is_checked_too() -> None:
    with pytest.raises(InputError, match="low is above high"):
        make_parameters(Pair, {"low": 3}, WHERE)


@dataclass(frozen=True)
class AwkwardNames:
    copy: int = 1
    json: int = 2
    schema: int = 3
    model_name: str = "m"


def test_any_field_name_will_do_for_a_parameter() -> None:
    made = make_parameters(AwkwardNames, {"copy": 5, "model_name": "x"}, WHERE)
    assert made == AwkwardNames(copy=5, model_name="x")


# descriptions


def test_a_description_gives_name_type_with_range_and_default() -> None:
    rows = {name: (text, default) for name, text, default in describe_parameters(Toy)}
    assert list(rows) == ["path", "M", "ratio", "normalize", "kind", "dim", "levels"]
    assert rows["path"] == ("str", "required")
    assert rows["M"] == ("int, >= 2, <= 64", "16")
    assert rows["ratio"] == ("float, > 0, < 1", "0.5")
    assert rows["normalize"] == ("bool", "True")
    assert {"fast", "exact"} <= set(re.findall(r"\w+", rows["kind"][0]))
    assert rows["kind"][1] == "fast"
    assert rows["dim"][1] == "None"


def test_a_description_does_not_call_a_parameter_with_a_made_default_required() -> None:
    rows = {name: default for name, _, default in describe_parameters(Toy)}
    assert rows["levels"] == "[1, 2]"


@dataclass(frozen=True)
class Ranged:
    share: Annotated[int, Interval(ge=1, lt=9)] = 3


def test_a_range_declared_as_an_interval_is_described_by_its_two_ends() -> None:
    assert describe_parameters(Ranged) == [("share", "int, >= 1, < 9", "3")]


def test_what_has_no_parameters_has_an_empty_description() -> None:
    assert describe_parameters(NoParameters) == []
