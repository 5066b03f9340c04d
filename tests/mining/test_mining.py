"""Hard negatives: no positive and no copy of one, exactly n a query, the same for a seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from retrieval_eval import get_index
from retrieval_eval.errors import InputError
from retrieval_eval.hits import Hits
from retrieval_eval.mining import (
    KINDS,
    LAYOUTS,
    Candidates,
    label_candidates,
    mine_negatives,
    training_rows,
    write_training_rows,
)
from retrieval_eval.qrels import Qrels

Floats = NDArray[np.float32]
Q, D, DIM = 40, 300, 16


class World:
    """Documents with copies and near-copies of relevant ones, and queries near them."""

    def __init__(self, seed: int = 0, *, copies: bool = True) -> None:
        rng = np.random.default_rng(seed)
        documents = rng.normal(size=(D, DIM))
        if copies:  # of positives, of another length
            documents[200:240] = 2 * documents[:40]
        documents[240:280] = documents[:40] + 0.02 * rng.normal(size=(40, DIM))
        self.documents = documents.astype(np.float32)
        self.queries = (documents[:Q] + 0.6 * rng.normal(size=(Q, DIM))).astype(np.float32)
        self.query_ids = [f"q{n}" for n in range(Q)]
        self.document_ids = [f"d{n}" for n in range(D)]
        judged = {f"q{n}": {f"d{n}": 1, f"d{n + 60}": 2, f"d{n + 120}": 0} for n in range(Q)}
        self.qrels = Qrels.from_mapping(judged)
        self.hits = get_index("flat").build(self.documents).search(self.queries, 60)

    def candidates(self, hits: Hits | None = None, **options: Any) -> Candidates:
        where = self.query_ids, self.document_ids, self.qrels, self.queries, self.documents
        return label_candidates(hits or self.hits, *where, **options)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def cosines(a: Floats, b: Floats) -> NDArray[np.float64]:
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a.astype(np.float64), b)]
    return np.asarray(unit[0] @ unit[1].T, dtype=np.float64)


# -- known answers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"skip": 7},
        {"skip": 3, "deepest": 20},
        {"strategy": "random", "seed": 5},
        {"absolute_margin": 0.05},
        {"relative_margin": 0.05, "strategy": "random"},
        {"max_score": 0.5, "min_score": 0.1},
        {"clusters": np.arange(D) % 11, "most_per_cluster": 2},
    ],
)
def test_no_positive_and_no_copy_of_one_is_a_negative(
    world: World, options: dict[str, Any]
) -> None:
    found = mine_negatives(world.candidates(), 4, **options)
    assert len(found.places) > 3
    alike = cosines(world.documents, world.documents)
    for place, ids in zip(found.places.tolist(), found.ids, strict=True):
        relevant = [place, place + 60]
        assert not set(ids.tolist()) & set(relevant)
        assert alike[relevant][:, ids].max() < 0.95
    ids = set(found.ids.ravel().tolist())
    assert len(ids) > 10


def test_without_removal_there_would_be_copies(world: World) -> None:
    """The test above can fail: the index does return them, judged and not."""
    found = world.candidates()
    assert found.share("positive", 5).mean() > 0.15
    assert found.share("near-duplicate", 5).mean() > 0.3
    counted = sum(found.share(kind, 60) for kind in KINDS)
    np.testing.assert_allclose(counted, 1)


@pytest.mark.parametrize("n", [1, 4, 12])
def test_a_query_has_exactly_n_or_is_reported_with_what_it_has(world: World, n: int) -> None:
    found = mine_negatives(world.candidates(), n, absolute_margin=0.1)
    assert found.ids.shape == found.scores.shape == (len(found.places), n)
    assert set(found.query_ids) | set(found.short) == set(world.query_ids)
    assert not set(found.query_ids) & set(found.short)
    assert all(count < n for count in found.short.values())
    assert found.short or n < 12
    assert all(len(set(row)) == n for row in found.ids.tolist())
    alone = mine_negatives(world.candidates(), 1, absolute_margin=0.1)
    assert all((query in alone.query_ids) == (c > 0) for query, c in found.short.items())


def test_a_seed_decides_and_other_queries_do_not(world: World) -> None:
    one, again, other = (
        mine_negatives(world.candidates(), 5, strategy="random", seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.ids, again.ids)
    assert not np.array_equal(one.ids, other.ids)
    part = world.qrels.only_queries(world.query_ids[10:])
    where = world.query_ids, world.document_ids, part, world.queries, world.documents
    few = mine_negatives(label_candidates(world.hits, *where), 5, strategy="random", seed=1)
    np.testing.assert_array_equal(few.ids, one.ids[10:])
    assert few.candidates.left_out == tuple(world.query_ids[:10])


def test_the_nearest_are_taken_and_skipped_by_rank(world: World) -> None:
    found = mine_negatives(world.candidates(), 6)
    assert (np.diff(found.scores, axis=1) <= 0).all()
    skipped = mine_negatives(world.candidates(), 4, skip=2)
    np.testing.assert_array_equal(skipped.ids, found.ids[:, 2:])
    inside = mine_negatives(world.candidates(), 4, strategy="random", skip=2, deepest=6)
    np.testing.assert_array_equal(inside.ids, found.ids[:, 2:])
    truth = cosines(world.queries, world.documents)
    np.testing.assert_allclose(
        found.scores, np.take_along_axis(truth, found.ids, axis=1), atol=1e-6
    )


def test_margins_are_of_the_farthest_positive(world: World) -> None:
    truth = cosines(world.queries, world.documents)
    lowest = np.array([truth[n, [n, n + 60]].min() for n in range(Q)])
    candidates = world.candidates()
    np.testing.assert_allclose(candidates.lowest_positive, lowest, atol=1e-6)
    absolute = mine_negatives(candidates, 2, absolute_margin=0.07)
    assert (absolute.scores <= lowest[absolute.places, None] - 0.07 + 1e-6).all()
    relative = mine_negatives(candidates, 2, relative_margin=0.3)
    limit = lowest - 0.3 * np.abs(lowest)
    assert (relative.scores <= limit[relative.places, None] + 1e-6).all()
    nearest = mine_negatives(candidates, 2)
    expected = (nearest.scores > lowest[:, None]).mean(axis=1)
    np.testing.assert_allclose(nearest.above_positive, expected)
    np.testing.assert_allclose(nearest.hardness, nearest.scores.mean(axis=1) - lowest, atol=1e-6)


def test_no_cluster_gives_more_than_its_quota(world: World) -> None:
    labels = np.array([f"c{n % 7}" for n in range(D)])
    for strategy in ("top", "random"):
        found = mine_negatives(
            world.candidates(), 8, clusters=labels, most_per_cluster=2, strategy=strategy
        )
        counts = [np.unique(labels[row], return_counts=True)[1].max() for row in found.ids]
        assert max(counts) == 2
    one = mine_negatives(world.candidates(), 7, clusters=labels)
    assert all(len(set(labels[row])) == 7 for row in one.ids)
    free = mine_negatives(world.candidates(), 1)
    np.testing.assert_array_equal(one.ids[:, 0], free.ids[one.places, 0])


def test_padding_is_never_a_negative(world: World) -> None:
    ids, scores = world.hits.ids[:, :6].copy(), world.hits.scores[:, :6].copy()
    ids[:, 3:], scores[:, 3:] = -1, -np.inf
    candidates = world.candidates(Hits(ids, scores))
    found = mine_negatives(candidates, 2, min_score=-2)
    assert (found.ids >= 0).all()
    assert max(found.short.values()) < 2
    assert candidates.share("absent", 6).sum() > 0
    assert candidates.share("positive", 6).max() <= 1


def test_overlap_and_hardness_are_of_queries_in_both(world: World) -> None:
    all_, few = (
        mine_negatives(world.candidates(), 3, **how) for how in ({}, {"absolute_margin": 0.15})
    )
    assert 0 < len(few.places) < Q
    shared = [
        len(set(all_.ids[place]) & set(few.ids[row])) / 3 for row, place in enumerate(few.places)
    ]
    np.testing.assert_allclose(few.overlap(all_), shared)
    np.testing.assert_allclose(all_.overlap(few), shared)
    np.testing.assert_array_equal(all_.overlap(all_), 1)
    np.testing.assert_allclose(few.harder_than(all_), few.hardness - all_.hardness[few.places])


def test_other_vectors_may_tell_copies(world: World) -> None:
    apart = np.eye(D, dtype=np.float32)
    found = world.candidates(duplicate_vectors=apart)
    assert found.share("near-duplicate", 60).sum() == 0
    assert np.array_equal(found.kinds == 1, world.candidates().kinds == 1)


# -- what sentence-transformers makes of the same -----------------------------------------------


class FrozenModel:
    """What ``mine_hard_negatives`` asks of a model, with vectors that are known."""

    device = "cpu"

    def __init__(self, vectors: dict[str, Floats]) -> None:
        self.vectors = vectors

    def _encode(self, texts: Sequence[str], **_: Any) -> Floats:
        rows = np.stack([self.vectors[text] for text in texts])
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)

    encode_query = encode_document = encode = _encode

    @staticmethod
    def similarity(a: Any, b: Any) -> Any:
        import torch

        return torch.as_tensor(a) @ torch.as_tensor(b).T

    @staticmethod
    def similarity_pairwise(a: Any, b: Any) -> Any:
        import torch

        return (torch.as_tensor(a) * torch.as_tensor(b)).sum(dim=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_sentence_transformers_mines_the_same() -> None:
    world = World(copies=False)  # ties have no order there
    util = pytest.importorskip("sentence_transformers.util")
    datasets = pytest.importorskip("datasets")
    vectors = dict(zip(world.query_ids, world.queries, strict=True))
    vectors |= dict(zip(world.document_ids, world.documents, strict=True))
    pairs = [(f"q{n}", f"d{m}") for n in range(Q) for m in (n, n + 60)]
    given = datasets.Dataset.from_dict(
        {"anchor": [a for a, _ in pairs], "positive": [b for _, b in pairs]}
    )
    # There, range_max and the largest number of positives are what is searched.
    hits = get_index("flat").build(world.documents).search(world.queries, 52)
    candidates = world.candidates(hits, duplicate_vectors=np.eye(D, dtype=np.float32))
    for ours, theirs in (
        ({}, {"range_max": 50}),
        ({"skip": 5}, {"range_min": 5, "range_max": 50}),
        ({"absolute_margin": 0.05}, {"absolute_margin": 0.05, "range_max": 50}),
        ({"relative_margin": 0.2}, {"relative_margin": 0.2, "range_max": 50}),
        ({"max_score": 0.6}, {"max_score": 0.6, "range_max": 50}),
    ):
        mined = util.mine_hard_negatives(
            given,
            FrozenModel(vectors),
            corpus=world.document_ids,
            num_negatives=3,
            output_format="n-tuple",
            verbose=False,
            **theirs,
        )
        found = mine_negatives(candidates, 3, **ours)
        rows = training_rows(found, world.query_ids, world.document_ids)
        assert rows.columns == mined.column_names
        expected = pl.DataFrame(mined.to_dict()).sort("anchor", "positive")
        assert rows.sort("anchor", "positive").equals(expected)


# -- training rows ------------------------------------------------------------------------------


def test_layouts_by_hand(world: World) -> None:
    part = world.qrels.only_queries(["q3"])
    where = world.query_ids, world.document_ids, part, world.queries, world.documents
    found = mine_negatives(label_candidates(world.hits, *where), 2)
    first, second = (world.document_ids[row] for row in found.ids[0])
    made = {
        layout: training_rows(found, world.query_ids, world.document_ids, layout=layout)  # type: ignore[arg-type]
        for layout in LAYOUTS
    }
    names = {"negative_1": first, "negative_2": second}
    assert made["n-tuple"].to_dicts() == [
        {"anchor": "q3", "positive": positive, **names} for positive in ("d3", "d63")
    ]
    assert made["triplet"].rows() == [
        ("q3", positive, negative) for positive in ("d3", "d63") for negative in (first, second)
    ]
    assert made["labeled-pair"].rows() == [
        ("q3", "d3", 1),
        ("q3", "d63", 1),
        ("q3", first, 0),
        ("q3", second, 0),
    ]
    assert made["labeled-list"].rows() == [
        ("q3", [positive, first, second], [1, 0, 0]) for positive in ("d3", "d63")
    ]
    scored = training_rows(found, world.query_ids, world.document_ids, scores=True)
    truth = cosines(world.queries[[3]], world.documents)[0]
    wanted = [[truth[row], *truth[found.ids[0]]] for row in (3, 63)]
    np.testing.assert_allclose(scored["scores"].to_list(), wanted, atol=1e-6)


def test_files_are_read_back(world: World, tmp_path: Path) -> None:
    rows = training_rows(mine_negatives(world.candidates(), 2), world.query_ids, world.document_ids)
    lines = write_training_rows(tmp_path / "new" / "n.jsonl", rows).read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows.to_dicts()
    assert pl.read_parquet(write_training_rows(tmp_path / "n.parquet", rows)).equals(rows)
    with pytest.raises(InputError, match="is there already"):
        write_training_rows(tmp_path / "n.parquet", rows)
    write_training_rows(tmp_path / "n.parquet", rows[:3], replace=True)
    assert len(pl.read_parquet(tmp_path / "n.parquet")) == 3
    with pytest.raises(InputError, match=r"must end in \.jsonl or \.parquet"):
        write_training_rows(tmp_path / "n.csv", rows)


# -- what cannot be -----------------------------------------------------------------------------


def test_what_cannot_be_is_named(world: World) -> None:
    candidates = world.candidates()
    for options, message in (
        ({"n": 0}, "n is 0"),
        ({"n": 1, "skip": -1}, "skip is -1"),
        ({"n": 3, "skip": 2, "deepest": 4}, "deepest is 4: it must be at least 5"),
        ({"n": 1, "strategy": "tpo"}, "Did you mean 'top'"),
        ({"n": 1, "seed": -1}, "seed is -1"),
        ({"n": 1, "clusters": [1, 2]}, "2 labels of clusters"),
    ):
        with pytest.raises(InputError, match=message):
            mine_negatives(candidates, **options)
    with pytest.raises(InputError, match="duplicate_cosine is 0"):
        world.candidates(duplicate_cosine=0)
    with pytest.raises(InputError, match="grade of 3 or more"):
        world.candidates(relevance_level=3)
    with pytest.raises(InputError, match="vectors that tell near-duplicates for"):
        world.candidates(duplicate_vectors=world.documents[:5])
    with pytest.raises(InputError, match=r"unknown layout 'triplets'\. Did you mean 'triplet'"):
        training_rows(mine_negatives(candidates, 1), [], [], layout="triplets")  # type: ignore[arg-type]
