"""Error rates, by the simulation behind docs/selection.md with fewer sweeps.

Bounds are four standard errors of the simulation around what is promised.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

SWEEPS = 50
CASES = ["shifted", "scaled", "independent"]


@pytest.fixture(
    scope="session", params=["made up", pytest.param("AP", marks=pytest.mark.slow), "nDCG@20"]
)
def scores(request: pytest.FixtureRequest, simulation: ModuleType) -> NDArray[np.float64]:
    if request.param == "made up":
        made: NDArray[np.float64] = simulation.made_up_scores()
        assert np.mean(made == 0) > 0.25
        return made
    folder = request.getfixturevalue("collections")
    real: NDArray[np.float64] = simulation.read_scores(folder)[request.param]
    return real


def above(promised: float, sweeps: int) -> float:
    return promised + 4 * float(np.sqrt(promised * (1 - promised) / sweeps))


@pytest.mark.parametrize("kind", CASES)
def test_noise_is_not_certified(
    simulation: ModuleType, scores: NDArray[np.float64], kind: str
) -> None:
    settings = {"sweeps": SWEEPS, "seed": 3}
    found = simulation.chosen_in(simulation.NULLS[kind], scores, 100, 20, **settings)
    assert simulation.certified_share(found) <= above(0.05, SWEEPS)
    uncorrected = simulation.others_on_noise(simulation.NULLS[kind], scores, 100, 20, **settings)[
        "uncorrected"
    ]
    assert uncorrected > above(0.05, SWEEPS)  # so that the simulation could have shown it


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("n", [60, 400])
def test_noise_is_not_certified_long(
    simulation: ModuleType, scores: NDArray[np.float64], kind: str, n: int
) -> None:
    found = simulation.chosen_in(simulation.NULLS[kind], scores, n, 50, sweeps=400, seed=5)
    assert simulation.certified_share(found) <= above(0.05, 400)


def test_rare_failures_are_not_certified_with_the_guard(simulation: ModuleType) -> None:
    made = simulation.made_up_scores()
    for loss, passes in ((None, True), (1.0, False)):
        found = simulation.chosen_in(
            simulation.rare, made, 100, 30, sweeps=SWEEPS, seed=3, rare_loss=loss
        )
        assert (simulation.certified_share(found) > above(0.05, SWEEPS)) is passes


def test_the_best_of_pure_noise_is_flattered_and_held_out_queries_say_so(
    simulation: ModuleType, scores: NDArray[np.float64]
) -> None:
    found = simulation.chosen_in(
        simulation.pure_noise, scores, 100, 20, sweeps=SWEEPS, seed=4, margin=0.05
    )
    figures = simulation.optimism(found)
    for name in ("leader: tuning gain", "leader: optimism"):
        mean, error = figures[name]
        assert mean > 4 * error
    gain, error = figures["leader: held-out gain"]
    assert abs(gain) < 4 * error
