"""Letters of runs: two share one exactly if their difference is not significant."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import pytest

from retrieval_eval.comparison import Comparison, compare, indistinguishable_groups
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation

Make = Callable[..., Evaluation]
Edge = tuple[int, int]


def comparison_of(
    make: Make,
    means: list[float],
    significant: Collection[Edge],
    measures: tuple[str, ...] = ("AP",),
) -> Comparison:
    """Return a comparison of all pairs, significant where that is asked for."""
    runs = [
        make(f"run{place}", [[mean, mean]] * len(measures), measures)
        for place, mean in enumerate(means)
    ]
    found = compare(runs, pairs="all", test="sign")
    edges = itertools.combinations(range(len(means)), 2)
    per_pair = [edge for edge in edges for _ in measures]
    return dataclasses.replace(
        found,
        differences=tuple(
            dataclasses.replace(one, significant=edge in significant)
            for edge, one in zip(per_pair, found.differences, strict=True)
        ),
    )


def random_edges(rng: np.random.Generator, runs: int, share: float) -> set[Edge]:
    return {edge for edge in itertools.combinations(range(runs), 2) if rng.random() < share}


def each(letters: str) -> list[str]:
    """Take letters apart: a small or capital letter, and the number of its round, if any."""
    return re.findall(r"[a-zA-Z]\d*", letters)


def sharing(letters: tuple[str, ...]) -> set[Edge]:
    """Return the pairs of runs that have a letter in common."""
    return {
        (i, j)
        for i, j in itertools.combinations(range(len(letters)), 2)
        if set(each(letters[i])) & set(each(letters[j]))
    }


def assert_letters_tell(letters: tuple[str, ...], significant: Collection[Edge]) -> None:
    everything = set(itertools.combinations(range(len(letters)), 2))
    assert sharing(letters) == everything - set(significant)
    assert all(letters), "every run has a letter"


# -- random graphs ----------------------------------------------------------------------------


@pytest.mark.parametrize("runs", range(1, 9))
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_two_runs_share_a_letter_exactly_if_they_do_not_differ_significantly(
    runs: int, share: float, evaluation: Make
) -> None:
    rng = np.random.default_rng([runs, int(10 * share)])
    for _ in range(12):
        edges = random_edges(rng, runs, share)
        found = comparison_of(evaluation, rng.random(runs).tolist(), edges)
        letters = indistinguishable_groups(found, "AP")
        assert_letters_tell(letters, edges)
        assert "a" in letters[int(np.argmax(found.means))]


@pytest.mark.parametrize("runs", range(2, 9))
def test_no_letter_could_be_given_to_one_more_run(runs: int, evaluation: Make) -> None:
    rng = np.random.default_rng(runs)
    for _ in range(12):
        edges = random_edges(rng, runs, 0.5)
        letters = indistinguishable_groups(
            comparison_of(evaluation, rng.random(runs).tolist(), edges), "AP"
        )
        groups = [
            {run for run in range(runs) if letter in letters[run]}
            for letter in sorted(set("".join(letters)))
        ]
        for group, other in itertools.permutations(groups, 2):
            assert not group <= other
        for group in groups:
            for run in set(range(runs)) - group:
                pairs = {(min(run, one), max(run, one)) for one in group}
                assert pairs & edges, "someone in the group differs from it"


def test_letters_are_used_from_a_on_without_a_gap(evaluation: Make) -> None:
    rng = np.random.default_rng(1)
    for runs in range(1, 9):
        edges = random_edges(rng, runs, 0.5)
        letters = indistinguishable_groups(
            comparison_of(evaluation, rng.random(runs).tolist(), edges), "AP"
        )
        used = "".join(sorted(set("".join(letters))))
        assert used == "abcdefghijklmnopqrstuvwxyz"[: len(used)]
        assert all(list(one) == sorted(set(one)) for one in letters)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_runs_changes_only_theirs(seed: int, evaluation: Make) -> None:
    rng = np.random.default_rng(seed)
    means, edges = rng.random(6), random_edges(rng, 6, 0.4)
    order = rng.permutation(6)
    turned = {
        (i, j)
        for i, j in itertools.combinations(range(6), 2)
        if (min(order[i], order[j]), max(order[i], order[j])) in edges
    }
    straight = indistinguishable_groups(comparison_of(evaluation, means.tolist(), edges), "AP")
    moved = indistinguishable_groups(comparison_of(evaluation, means[order].tolist(), turned), "AP")
    assert moved == tuple(straight[place] for place in order)


# -- known answers ----------------------------------------------------------------------------


def test_three_runs_whose_ends_differ_have_the_classic_display(evaluation: Make) -> None:
    found = comparison_of(evaluation, [0.3, 0.2, 0.1], {(0, 2)})
    assert indistinguishable_groups(found, "AP") == ("a", "ab", "b")
    found = comparison_of(evaluation, [0.1, 0.3, 0.2], {(0, 1)})
    assert indistinguishable_groups(found, "AP") == ("b", "a", "ab")


def test_a_middle_run_may_differ_where_the_ends_do_not(evaluation: Make) -> None:
    found = comparison_of(evaluation, [0.3, 0.2, 0.1], {(0, 1)})
    assert indistinguishable_groups(found, "AP") == ("a", "b", "ab")


def test_all_that_differ_have_a_letter_each_in_the_order_of_means(evaluation: Make) -> None:
    edges = set(itertools.combinations(range(4), 2))
    found = comparison_of(evaluation, [0.2, 0.4, 0.1, 0.3], edges)
    assert indistinguishable_groups(found, "AP") == ("c", "a", "d", "b")


def test_none_that_differ_have_one_letter(evaluation: Make) -> None:
    found = comparison_of(evaluation, [0.2, 0.4, 0.1, 0.3], set())
    assert indistinguishable_groups(found, "AP") == ("a",) * 4


def test_one_run_has_the_letter_a(evaluation: Make) -> None:
    assert indistinguishable_groups(comparison_of(evaluation, [0.2], set()), "AP") == ("a",)


def test_a_run_without_a_mean_comes_last(evaluation: Make) -> None:
    found = comparison_of(evaluation, [float("nan"), 0.1, 0.2], {(0, 1), (0, 2), (1, 2)})
    assert indistinguishable_groups(found, "AP") == ("c", "b", "a")


def test_measures_have_letters_of_their_own(evaluation: Make) -> None:
    base, rng = np.linspace(0, 0.1, 30), np.random.default_rng(0)
    tables = [[base + 0.5 * (place == 1), rng.random(30)] for place in range(3)]
    runs = [
        evaluation(name, table, ("AP", "RR")) for name, table in zip("xyz", tables, strict=True)
    ]
    found = compare(runs, pairs="all", test="t")
    assert indistinguishable_groups(found, "AP") == ("b", "a", "b")
    assert indistinguishable_groups(found, "RR") == ("a", "a", "a")


@pytest.mark.parametrize("correction", ["none", "holm"])
def test_letters_of_real_systems_tell_what_differs(
    correction: str, evaluation: Make, collections: Path
) -> None:
    path = collections / "scores" / "sigir2019" / "adhoc8_ap.csv"
    table = np.loadtxt(path, delimiter=",", skiprows=1).T[:25]
    runs = [evaluation(f"run{place}", [row], ("AP",)) for place, row in enumerate(table)]
    found = compare(runs, pairs="all", test="t", correction=correction)
    edges = itertools.combinations(range(len(runs)), 2)
    significant = {
        edge for edge, one in zip(edges, found.differences, strict=True) if one.significant
    }
    assert 50 < len(significant) < 250
    letters = indistinguishable_groups(found, "AP")
    assert_letters_tell(letters, significant)
    assert "a" in letters[int(np.argmax(table.mean(axis=1)))]


# -- what is refused --------------------------------------------------------------------------


def test_missing_pairs_are_refused(evaluation: Make) -> None:
    runs = [evaluation(name, [[0.1, 0.2]], ("AP",)) for name in "wxyz"]
    with pytest.raises(InputError, match="groups need all pairs of runs"):
        indistinguishable_groups(compare(runs), "AP")


def test_an_unknown_measure_is_refused_by_name(evaluation: Make) -> None:
    found = comparison_of(evaluation, [0.1, 0.2], set(), ("nDCG@10",))
    with pytest.raises(InputError, match=r"unknown measure 'nDCG@1'. Did you mean 'nDCG@10'\?"):
        indistinguishable_groups(found, "nDCG@1")


# -- pairs in another order -------------------------------------------------------------------


def one_poor_run(make: Make) -> list[Evaluation]:
    rng = np.random.default_rng(0)
    base = rng.random(30) / 10
    return [
        make("x", [base], ("AP",)),
        make("y", [base + 0.3 + rng.random(30) / 100], ("AP",)),
        make("z", [base + 0.3 + rng.random(30) / 100], ("AP",)),
    ]


def test_pairs_of_a_poor_run_tell_it_from_the_others(evaluation: Make) -> None:
    found = compare(one_poor_run(evaluation), pairs="all")
    assert indistinguishable_groups(found, "AP") == ("b", "a", "a")


@pytest.mark.parametrize(
    "settings", [{"references": ["z", "x"]}, {"pairs": [(1, 2), (0, 2), (0, 1)]}]
)
def test_all_pairs_in_any_order_give_the_same_letters(
    settings: dict[str, object], evaluation: Make
) -> None:
    found = compare(one_poor_run(evaluation), **settings)  # type: ignore[arg-type]
    assert indistinguishable_groups(found, "AP") == ("b", "a", "a")


def test_one_pair_many_times_is_refused(evaluation: Make) -> None:
    found = compare(one_poor_run(evaluation), pairs=[(0, 1)] * 3)
    with pytest.raises(InputError, match="groups need all pairs of runs"):
        indistinguishable_groups(found, "AP")


# -- many groups ------------------------------------------------------------------------------


def disjoint_pairs(count: int) -> set[Edge]:
    return {(2 * place, 2 * place + 1) for place in range(count)}


def test_letters_tell_what_differs_however_many_there_are(evaluation: Make) -> None:
    edges = disjoint_pairs(5)
    found = comparison_of(evaluation, np.linspace(1, 0, 10).tolist(), edges)
    assert_letters_tell(indistinguishable_groups(found, "AP"), edges)


def test_no_letter_is_superfluous(evaluation: Make) -> None:
    edges = disjoint_pairs(4)
    found = comparison_of(evaluation, np.linspace(1, 0, 8).tolist(), edges)
    letters = indistinguishable_groups(found, "AP")
    for letter in sorted(set("".join(letters))):
        fewer = tuple(one.replace(letter, "") for one in letters)
        assert sharing(fewer) != sharing(letters) or not all(fewer)


def test_the_best_run_has_the_letter_a_even_if_the_first_groups_are_superfluous(
    evaluation: Make,
) -> None:
    groups = [
        [1, 2, 4, 5, 6, 8, 11],
        [1, 3, 4, 5, 6, 8, 10],
        [1, 2, 3, 4, 6, 7, 9],
        [0, 1, 2, 6, 7, 8, 11],
        [0, 1, 2, 6, 7, 9, 11],
        [0, 1, 3, 6, 7, 9, 10],
        [0, 1, 5, 6, 8, 10, 11],
    ]
    alike = {edge for group in groups for edge in itertools.combinations(group, 2)}
    edges = set(itertools.combinations(range(12), 2)) - alike
    found = comparison_of(evaluation, np.linspace(1, 0, 12).tolist(), edges)
    letters = indistinguishable_groups(found, "AP")
    assert_letters_tell(letters, edges)
    assert "a" in letters[0]


def test_capitals_and_numbers_follow_after_z(evaluation: Make) -> None:
    edges = set(itertools.combinations(range(107), 2))
    found = comparison_of(evaluation, np.linspace(1, 0, 107).tolist(), edges)
    letters = indistinguishable_groups(found, "AP")
    assert [letters[place] for place in (0, 25, 26, 51, 52, 103, 104)] == [
        *("a", "z", "A", "Z", "a1", "Z1", "a2")
    ]
    assert len(set(letters)) == 107


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_letters_of_many_runs_tell_what_differs(share: float, evaluation: Make) -> None:
    rng = np.random.default_rng(int(10 * share))
    edges = random_edges(rng, 40, share)
    found = comparison_of(evaluation, rng.random(40).tolist(), edges)
    letters = indistinguishable_groups(found, "AP")
    assert_letters_tell(letters, edges)
    assert "a" in each(letters[int(np.argmax(found.means))])


@pytest.mark.parametrize("correction", ["none", "holm"])
def test_letters_of_all_systems_of_a_trec_track_are_found(
    correction: str, evaluation: Make, collections: Path
) -> None:
    path = collections / "scores" / "sigir2019" / "adhoc8_ap.csv"
    table = np.loadtxt(path, delimiter=",", skiprows=1).T
    runs = [evaluation(f"run{place}", [row], ("AP",)) for place, row in enumerate(table)]
    found = compare(runs, pairs="all", test="t", correction=correction)
    edges = itertools.combinations(range(len(runs)), 2)
    significant = {
        edge for edge, one in zip(edges, found.differences, strict=True) if one.significant
    }
    letters = indistinguishable_groups(found, "AP")
    assert_letters_tell(letters, significant)
    assert len({one for some in letters for one in each(some)}) < 129, "no more than systems"
