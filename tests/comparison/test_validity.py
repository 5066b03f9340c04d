"""Error rates, by the simulation behind docs/validity.md with fewer pairs.

Bounds are four standard errors of the simulation around what is promised, so that a test which
rejects at 0.07, or an interval that covers 92 %, fails.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

SIZES = (50, 200, 1000)


@pytest.fixture(scope="session")
def validity() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "validity.py"
    spec = importlib.util.spec_from_file_location("validity", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["validity"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session", params=["made up", "AP", "P@10", "RR", "nDCG@20"])
def scores(request: pytest.FixtureRequest, validity: ModuleType) -> NDArray[np.float64]:
    """Scores of shape (topics, systems): real ones, and some as skewed, tied and full of zeros."""
    if request.param == "made up":
        rng = np.random.default_rng(8)
        easy = rng.beta(0.5, 1.5, size=(50, 1))
        made = np.round(np.clip(easy + rng.normal(0, 0.15, size=(50, 40)), 0, 1), 1)
        assert np.mean(made == 0) > 0.25
        result: NDArray[np.float64] = made
        return result
    folder = request.getfixturevalue("collections")
    real: NDArray[np.float64] = validity.read_scores(folder)[request.param]
    return real


def above(promised: float, pairs: int) -> float:
    return promised + 4 * float(np.sqrt(promised * (1 - promised) / pairs))


def below(promised: float, pairs: int) -> float:
    return promised - 4 * float(np.sqrt(promised * (1 - promised) / pairs))


@pytest.mark.parametrize("n", SIZES)
def test_true_null_hypotheses_are_rejected_as_often_as_alpha_says(
    validity: ModuleType, scores: NDArray[np.float64], n: int
) -> None:
    pairs = 1000
    rates = validity.rejection_rates(scores, "same distribution", n, pairs=pairs, draws=999, seed=3)
    for name in ("randomization", "t", "wilcoxon"):
        assert below(0.05, pairs) <= rates[name] <= above(0.05, pairs), name
    assert rates["sign"] <= above(0.05, pairs)


@pytest.mark.parametrize("n", SIZES)
def test_pairs_that_differ_on_few_queries_are_not_rejected_too_often(
    validity: ModuleType, scores: NDArray[np.float64], n: int
) -> None:
    pairs = 1000
    rates = validity.rejection_rates(scores, "swapped pair", n, pairs=pairs, draws=999, seed=4)
    for name in ("randomization", "t", "wilcoxon", "sign"):
        assert rates[name] <= above(0.05, pairs), name


def test_the_bootstrap_test_deserves_its_warning(validity: ModuleType) -> None:
    rng = np.random.default_rng(8)
    made = np.round(rng.beta(0.4, 2.0, size=(50, 40)), 2)
    rates = validity.rejection_rates(made, "same distribution", 15, pairs=4000, draws=999, seed=3)
    assert rates["bootstrap"] > above(0.05, 4000)
    assert rates["randomization"] <= above(0.05, 4000)


@pytest.mark.parametrize("n", SIZES)
def test_the_default_interval_covers_what_it_says(
    validity: ModuleType, scores: NDArray[np.float64], n: int
) -> None:
    pairs = 2000
    held = validity.coverage(scores, n, pairs=pairs, draws=100, seed=3)
    for what in ("difference", "mean"):
        assert below(0.935, pairs) <= held[what, "t"] <= above(0.965, pairs), what


@pytest.mark.parametrize("n", SIZES)
def test_a_loss_of_exactly_the_margin_is_rarely_accepted(
    validity: ModuleType, scores: NDArray[np.float64], n: int
) -> None:
    pairs = 2000
    rates = validity.accepted_at_the_margin(scores, n, pairs=pairs, draws=100, seed=3)
    assert rates["hall"] <= above(0.05, pairs)
    assert rates["hall"] > 0.02, "a test that accepts nothing would be useless"


def test_families_hold_their_error_rate(validity: ModuleType, scores: NDArray[np.float64]) -> None:
    families = 300
    wrong = validity.family_wise_rates(scores, 50, families=families, draws=999, seed=3)
    for name in ("holm", "bonferroni", "by", "tukey"):
        assert wrong[name] <= above(0.05, families), name
    assert wrong["none"] > 0.2, "without a correction most families hold a false alarm"
