"""Searching ranges: what is allowed, that budgets hold, and that all is written down."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from retrieval_eval.errors import InputError, MissingExtraError
from retrieval_eval.store import Store
from retrieval_eval.sweep import Sweep, make_plan
from retrieval_eval.sweep.config import SweepError
from retrieval_eval.sweep.ranges import Range, Space
from retrieval_eval.sweep.tuning import Goal, Search, Trial

MakeSettings = Callable[..., dict[str, Any]]
SAMPLERS: list[Literal["bayesian", "random"]] = ["bayesian", "random"]
SPACE = Space.of(
    {
        "hnsw": {
            "M": {"int": [4, 64], "log": True},
            "label": "graph",
            "search": {"ef": {"int": [8, 1024], "log": True}, "kind": {"choice": ["a", None, 3]}},
        }
    }
)
GOAL = Goal.parse("smallest latency with recall >= 0.8")


def made_up(point: Mapping[str, Any]) -> dict[str, float | None]:
    """Recall rises with both parameters, and so does latency."""
    work = point["M"] * point["search.ef"]
    return {"latency": 1e-6 * work, "recall": 1 - math.exp(-work / 2000), "other": None}


def search(sampler: Literal["bayesian", "random"], **options: Any) -> Search:
    if sampler == "bayesian":
        pytest.importorskip("optuna")
    return Search(SPACE, GOAL, sampler, **{"trials": 30, "seed": 5, **options})


# -- ranges -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({"int": [1, 4]}, [1, 2, 3, 4]),
        ({"int": [16, 64], "step": 16}, [16, 32, 48, 64]),
        ({"int": [1, 5], "log": True}, [1, 2, 3, 4, 5]),
        ({"choice": ["a", None, 3]}, ["a", None, 3]),
    ],
)
def test_every_value_of_a_range_is_drawn_and_no_other(
    given: dict[str, Any], values: list[Any]
) -> None:
    found = Range.parse(given)
    rng = np.random.default_rng(0)
    drawn = [found.draw(rng) for _ in range(300)]
    assert {*drawn} == {*values}
    assert all(type(one) is not np.int64 for one in drawn)
    assert list(found.values()) == values
    assert found.size == len(values)


def test_a_logarithmic_range_draws_as_many_values_from_each_decade() -> None:
    rng = np.random.default_rng(0)
    for kind in ("int", "float"):
        found = Range.parse({kind: [1, 10_000], "log": True})
        drawn = np.array([found.draw(rng) for _ in range(2000)])
        assert abs(np.mean(drawn < 100) - 0.5) < 0.06
        assert drawn.min() >= 1
        assert drawn.max() <= 10_000


def test_a_whole_number_is_as_likely_as_its_neighbourhood_is_wide_on_the_scale() -> None:
    rng = np.random.default_rng(0)
    found = Range.parse({"int": [1, 3], "log": True})
    drawn = np.array([found.draw(rng) for _ in range(4000)])
    for value in (1, 2, 3):
        expected = math.log((value + 0.5) / (value - 0.5)) / math.log(3.5 / 0.5)
        assert abs(np.mean(drawn == value) - expected) < 0.03


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"int": [8]}, "give two whole numbers, the lower one first"),
        ({"int": [8, 4]}, "give two whole numbers"),
        ({"int": [8, 8]}, "give two whole numbers"),
        ({"int": [8, 9.5]}, "give two whole numbers"),
        ({"int": [False, True]}, "give two whole numbers"),
        ({"float": [0, math.inf]}, "give two numbers"),
        ({"float": [0, math.nan]}, "give two numbers"),
        ({"float": ["a", "b"]}, "give two numbers"),
        ({"int": [0, 8], "log": True}, "with log, both must be above 0"),
        ({"int": [1, 8], "log": "yes"}, "log is 'yes': it must be true or false"),
        ({"int": [1, 8], "lgo": True}, "Did you mean 'log'?"),
        ({"int": [1, 8], "step": 2}, "step 2 does not lead from 1 to 8"),
        ({"int": [1, 8], "step": 0}, "step is 0"),
        ({"int": [1, 9], "step": 2, "log": True}, "log and step cannot be combined"),
        ({"float": [0, 1], "step": 1}, "unknown key of a float range 'step'"),
        ({"choice": [1]}, "give two or more values, each once"),
        ({"choice": [1, 2, 1]}, "give two or more values, each once"),
        ({"choice": [1, 2], "int": [1, 2]}, "a range is one of int, float and choice"),
    ],
)
def test_a_range_that_cannot_be_is_refused(
    settings: MakeSettings, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        Range.parse(given)
    with pytest.raises(SweepError, match=re.escape(message)) as caught:
        Sweep(**settings("d", indexes=[{"hnsw": {"search": {"ef": given}}}], tune=TUNE))
    assert caught.value.location[:4] == ("indexes", 0, "search", "ef")


def test_a_point_is_put_in_place_of_the_ranges() -> None:
    assert SPACE.fill({"M": 8, "search.ef": 99, "search.kind": None}) == {
        "hnsw": {"M": 8, "label": "graph", "search": {"ef": 99, "kind": None}}
    }


# -- goals ------------------------------------------------------------------------------------


def test_a_goal_is_read_and_printed() -> None:
    text = "largest nDCG(dcg='exp-log2')@10 with build_s <= 1.5 and P(rel=2)@5 >= 0.123456789"
    goal = Goal.parse(text)
    assert str(goal) == text
    assert (goal.column, goal.largest) == ("nDCG(dcg='exp-log2')@10", True)
    assert [(one.column, one.at_least, one.bound) for one in goal.constraints] == [
        ("build_s", False, 1.5),
        ("P(rel=2)@5", True, 0.123456789),
    ]


def test_columns_of_a_goal_are_checked_and_measures_get_their_own_names() -> None:
    columns = ["RR@10", "latency_p95_s"]
    assert Goal.parse("largest MRR@10", columns).column == "RR@10"
    with pytest.raises(InputError, match=r"'latency_p59_s'. Did you mean 'latency_p95_s'\?"):
        Goal.parse("largest RR@10 with latency_p59_s <= 1", columns)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "latency",
        "smalest latency",
        "smallest",
        "smallest latency with",
        "smallest latency with recall",
        "smallest latency with recall > 0.9",
        "smallest latency with recall = 0.9",
        "smallest latency with recall >= high",
        "smallest latency with recall >= 0.9 and",
        "smallest latency with recall >= 0.9 or build <= 3",
    ],
)
def test_a_goal_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="write 'smallest COLUMN' or 'largest COLUMN'"):
        Goal.parse(text)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"latency": 1.0, "recall": 0.8}, "ok"),
        ({"latency": 1.0, "recall": 0.79}, "infeasible"),
        ({"latency": 1.0}, "failed"),
        ({"latency": None, "recall": 0.9}, "failed"),
        ({"latency": 1.0, "recall": math.nan}, "failed"),
        ({"latency": math.inf, "recall": 0.9}, "failed"),
        ({"latency": 0.0, "recall": 0.9, "more": None}, "ok"),
    ],
)
def test_results_are_feasible_infeasible_or_failed(
    values: dict[str, float | None], status: str
) -> None:
    assert GOAL.status(values) == status


def test_the_best_trial_is_the_first_of_the_best_feasible_ones() -> None:
    def trial(number: int, latency: float | None, recall: float) -> Trial:
        values = {"latency": latency, "recall": recall}
        return Trial(number, {}, values, GOAL.status(values))

    trials = [trial(0, 1, 0.1), trial(1, 3, 0.9), trial(2, 2, 0.9), trial(3, 2, 0.99)]
    trials.append(trial(4, None, 1))
    best = GOAL.best(trials)
    assert best is trials[2]
    assert Goal.parse("largest latency with recall >= 0.8").best(trials) is trials[1]
    assert GOAL.best(trials[:1]) is None
    assert GOAL.best([]) is None


# -- searches ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_seed_tries_the_same_points_and_another_one_others(
    sampler: Literal["bayesian", "random"],
) -> None:
    first = search(sampler).run(made_up)
    assert search(sampler).run(made_up) == first
    assert [one.parameters for one in search(sampler, seed=6).run(made_up)] != [
        one.parameters for one in first
    ]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_trial_is_kept_in_order_with_what_came_out(
    sampler: Literal["bayesian", "random"],
) -> None:
    asked: list[dict[str, Any]] = []

    def evaluate(point: dict[str, Any]) -> dict[str, float | None]:
        asked.append(dict(point))
        return made_up(point)

    this = search(sampler)
    trials = this.run(evaluate)
    assert [one.parameters for one in trials] == asked
    assert [one.number for one in trials] == list(range(30))
    assert [one.values for one in trials] == [made_up(one) for one in asked]
    assert len({json.dumps(one) for one in asked}) == 30
    record = json.loads(json.dumps(this.record(trials), allow_nan=False))
    assert [one["parameters"] for one in record["trials"]] == asked
    assert (record["seed"], record["sampler"], record["goal"]) == (5, sampler, str(GOAL))
    assert record["entry"] == SPACE.entry
    assert re.match(r"(optuna|numpy) \d", record["made_by"])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_winner_keeps_the_bounds_and_no_other_trial_that_does_is_better(
    sampler: Literal["bayesian", "random"],
) -> None:
    this = search(sampler)
    trials = this.run(made_up)
    best = GOAL.best(trials)
    assert best is not None
    assert best.values["recall"] >= 0.8  # type: ignore[operator]
    good = [one.values["latency"] for one in trials if (one.values["recall"] or 0) >= 0.8]
    assert best.values["latency"] == min(one for one in good if one is not None)
    assert {one.status for one in trials} == {"ok", "infeasible"}
    assert this.record(trials)["best"] == best.number


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("nothing", [{}, {"latency": None, "recall": 1.0}, {"latency": math.nan}])
def test_failed_trials_are_written_down_and_never_chosen(
    sampler: Literal["bayesian", "random"], nothing: dict[str, float | None]
) -> None:
    calls = itertools.count()
    this = search(sampler, trials=15)
    trials = this.run(lambda point: nothing if next(calls) % 3 else made_up(point))
    assert [one.status == "failed" for one in trials] == [n % 3 > 0 for n in range(15)]
    assert all(one["values"].keys() == nothing.keys() for one in this.record(trials)["trials"][1:3])
    none = this.run(lambda _: nothing)
    assert GOAL.best(none) is None
    assert this.record(none)["best"] is None


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_seconds_end_a_search_between_trials(sampler: Literal["bayesian", "random"]) -> None:
    now = [100.0]

    def evaluate(point: dict[str, Any]) -> dict[str, float | None]:
        now[0] += 2.0
        return made_up(point)

    timed = search(sampler, trials=None, seconds=5.0, clock=lambda: now[0]).run(evaluate)
    assert timed == search(sampler, trials=3).run(made_up)
    now[0] = 0.0
    both = search(sampler, trials=2, seconds=5.0, clock=lambda: now[0]).run(evaluate)
    assert both == timed[:2]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_small_space_is_tried_out_and_the_search_ends(
    sampler: Literal["bayesian", "random"],
) -> None:
    if sampler == "bayesian":
        pytest.importorskip("optuna")
    space = Space.of({"hnsw": {"M": {"int": [1, 4]}, "search": {"k": {"choice": [{"a": 1}, "b"]}}}})
    goal = Goal.parse("largest score")
    this = Search(space, goal, sampler, trials=50, seconds=1000.0)
    trials = this.run(lambda point: {"score": float(point["M"] * (1 + (point["search.k"] == "b")))})
    assert len(trials) == 8
    assert len({repr(one.parameters) for one in trials}) == 8
    best = goal.best(trials)
    assert best is not None
    assert best.parameters == {"M": 4, "search.k": "b"}


def test_bayesian_search_learns_from_results_and_from_broken_bounds() -> None:
    pytest.importorskip("optuna")
    space = Space.of({"x": {"a": {"float": [0, 1]}, "b": {"float": [0, 1]}}})
    goal = Goal.parse("smallest cost with quality >= 0.7")  # what is cheap breaks the bound
    trials = Search(space, goal, trials=60, seed=1).run(
        lambda one: {"cost": one["a"] + (one["b"] - 0.3) ** 2, "quality": one["a"]}
    )
    early, late = trials[:10], trials[-20:]
    assert np.mean([one.status == "ok" for one in early]) < 0.5
    assert np.mean([one.status == "ok" for one in late]) > 0.5
    assert np.mean([one.parameters["a"] for one in late]) < 0.85
    assert np.mean([abs(one.parameters["b"] - 0.3) for one in late]) < 0.15


def test_bayesian_search_leaves_optunas_logging_as_it_was(
    capfd: pytest.CaptureFixture[str],
) -> None:
    optuna = pytest.importorskip("optuna")
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    try:
        search("bayesian", trials=12).run(made_up)
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.set_verbosity(before)
    assert capfd.readouterr() == ("", "")


def test_an_exception_of_the_evaluation_ends_the_search() -> None:
    def evaluate(_: dict[str, Any]) -> dict[str, float | None]:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        search("random").run(evaluate)


def test_a_search_without_a_budget_is_refused() -> None:
    with pytest.raises(InputError, match="a search needs a budget: give trials, or seconds"):
        Search(SPACE, GOAL, "random")


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ann-retrieval-eval\[optuna\]'"):
        Search(SPACE, GOAL, "bayesian", trials=3).run(made_up)
    assert len(Search(SPACE, GOAL, "random", trials=3).run(made_up)) == 3


# -- in a sweep -------------------------------------------------------------------------------

TUNE = {"goal": "smallest latency_p95_s with neighbour_recall@10 >= 0.9", "trials": 5}
RANGED = {"ivf-flat": {"nlist": {"int": [2, 8]}, "search": {"nprobe": {"int": [1, 2]}}}}


def test_a_sweep_gives_its_spaces_its_goal_and_its_searches(settings: MakeSettings) -> None:
    sweep = Sweep(**settings("d", indexes=["flat", RANGED], tune=TUNE, seed=9))
    assert list(sweep.spaces()) == [1]
    space = sweep.spaces()[1]
    assert list(space.ranges) == ["nlist", "search.nprobe"]
    made = sweep.search(space)
    assert (made.trials, made.seconds, made.seed, made.sampler) == (5, None, 9, "bayesian")
    assert str(sweep.goal()) == TUNE["goal"]
    point = {"nlist": 4, "search.nprobe": 2}
    assert space.fill(point) == {"ivf-flat": {"nlist": 4, "search": {"nprobe": 2}}}


def test_a_plan_of_ranges_is_refused_and_one_of_a_point_is_not(
    tiny: Path, tmp_path: Path, settings: MakeSettings
) -> None:
    sweep = Sweep(**settings(tiny, indexes=["flat", RANGED], tune=TUNE))
    with pytest.raises(SweepError, match="nlist is a range: it is searched") as caught:
        make_plan(sweep, Store(tmp_path / "cache"), skip_unavailable=False)
    assert caught.value.location == ("indexes", 1, "nlist")
    entry = sweep.spaces()[1].fill({"nlist": 4, "search.nprobe": 2})
    plain = Sweep(**settings(tiny, indexes=["flat", entry]))
    plan = make_plan(plain, Store(tmp_path / "cache"), skip_unavailable=False)
    assert [row.shown for row in plan.searched] == ["flat", "ivf-flat nlist=4 nprobe=2"]


@pytest.mark.parametrize(
    ("change", "location", "message"),
    [
        ({"tune": None}, ("indexes", 1, "nlist"), "the sweep has no section 'tune'"),
        ({"indexes": ["flat"]}, ("tune",), "no parameter of an index is a range"),
        (
            {"encoders": [{"lsa": {"dim": {"int": [4, 8]}}}]},
            ("encoders", 0, "lsa", "dim"),
            "only parameters of indexes are searched",
        ),
        (
            {"indexes": [{"ivf-flat": {"nlist": {"int": [2, 8]}, "search": {"nprobe": [1, 2]}}}]},
            ("indexes", 0, "search", "nprobe"),
            "search.nprobe is a grid beside a range",
        ),
        (
            {"indexes": [{"ivf-flat": {"nlist": {"int": [2, 8]}, "zip": {"a": [1], "b": [2]}}}]},
            ("indexes", 0, "zip"),
            "zip is a grid beside a range",
        ),
        ({"tune": {"trials": 3}}, ("tune",), "parameter 'goal' is required"),
        ({"tune": {"goal": "largest qps"}}, ("tune",), "a search needs a budget"),
        ({"tune": {**TUNE, "trials": 0}}, ("tune", "trials"), "'trials' is 0"),
        ({"tune": {**TUNE, "seconds": 0}}, ("tune", "seconds"), "'seconds' is 0"),
        ({"tune": {**TUNE, "sampler": "tpe"}}, ("tune", "sampler"), "'sampler' is 'tpe'"),
        ({"tune": {**TUNE, "gaol": "x"}}, ("tune", "gaol"), "Did you mean 'goal'?"),
        (
            {"tune": {**TUNE, "goal": "largest nDCG@5"}},
            ("tune", "goal"),
            "unknown column (of the goal) 'nDCG@5'. Did you mean 'nDCG@10'?",
        ),
        (
            {"tune": {**TUNE, "goal": "best"}},
            ("tune", "goal"),
            "write 'smallest COLUMN'",
        ),
    ],
)
def test_a_search_that_cannot_be_is_refused_with_its_place(
    settings: MakeSettings, change: dict[str, Any], location: tuple[Any, ...], message: str
) -> None:
    values = {"indexes": ["flat", RANGED], "tune": TUNE, **change}
    with pytest.raises(SweepError, match=re.escape(message)) as caught:
        Sweep(**settings("d", **values))
    assert caught.value.location == location
