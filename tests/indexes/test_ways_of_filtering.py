"""Filters for each query, and filtering by the index, before it, or after the search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from retrieval_eval import Qrels
from retrieval_eval.errors import InputError
from retrieval_eval.filtered import (
    compare_ways,
    filter_correlation,
    filtered_recall,
    filtered_scores,
    filters_by_similarity,
    filters_of_document,
    mask_of_share,
    search_each,
)
from retrieval_eval.hits import Hits
from retrieval_eval.indexes import Index, get_index
from retrieval_eval.indexes.post_filter import PostFilterIndex
from retrieval_eval.neighbours import exact_neighbours, kth_scores, neighbour_recall
from retrieval_eval.testing import IndexConformance

N, D, Q, K = 500, 8, 12, 10
Vectors = NDArray[np.float32]
IVF: dict[str, Any] = {"ivf-flat": {"nlist": 8}}


class TestPostFilter(IndexConformance):
    narrow, wide = {"index": {"nprobe": 1}}, {"index": {"nprobe": 8}}

    @pytest.fixture
    def make_index(self) -> Any:
        return lambda **options: PostFilterIndex(index=IVF, **options)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


@pytest.fixture(scope="module")
def queries(vectors: Vectors) -> Vectors:
    return vectors[:Q] + np.float32(0.1)


@pytest.fixture(scope="module")
def ways(vectors: Vectors) -> dict[str, Index]:
    made = {
        "exact": get_index("flat", threads=1),
        "native": get_index("faiss-hnsw", threads=1),
        "post": PostFilterIndex(index="faiss-hnsw", threads=1),
    }
    return {name: index.build(vectors) for name, index in made.items()}


def test_a_filter_that_passes_all_equals_unfiltered_search(
    ways: dict[str, Index], queries: Vectors
) -> None:
    assert [index.filtering for index in ways.values()] == ["pre", "native", "post"]
    found = search_each(ways, queries, [np.ones(N, dtype=bool)] * Q, K)
    for name, index in ways.items():
        plain = index.search(queries, K)
        np.testing.assert_array_equal(found[name].hits.ids, plain.ids)
        np.testing.assert_allclose(found[name].hits.scores, plain.scores, rtol=1e-6)
        assert (found[name].seconds > 0).all()


def test_a_filter_that_passes_none_finds_nothing(
    ways: dict[str, Index], queries: Vectors, vectors: Vectors
) -> None:
    masks = [np.zeros(N, dtype=bool)] * Q
    for one in search_each(ways, queries, masks, K, repeats=1).values():
        assert (one.hits.ids == -1).all()
        assert one.hits.ids.shape == (Q, K)
    ids, documents = [f"q{row}" for row in range(Q)], [f"d{row}" for row in range(N)]
    qrels = Qrels.from_mapping({query: {"d1": 1} for query in ids})
    judged = {"qrels": qrels, "query_ids": ids, "document_ids": documents}
    for way in compare_ways(ways, "exact", vectors, queries, masks, **judged):
        assert (way.n, way.n_judged) == (0, 0)
        assert np.isnan([*way.recall, *way.difference]).all()


def test_filtering_after_exact_search_equals_filtering_before_it(
    vectors: Vectors, queries: Vectors, ways: dict[str, Index]
) -> None:
    post = PostFilterIndex(index="flat", threads=1).build(vectors)
    for share in (0.004, 0.1, 0.6):
        mask = mask_of_share(np.random.default_rng(1).random(N), share)
        found, expected = (one.search(queries, K, where=mask) for one in (post, ways["exact"]))
        np.testing.assert_array_equal(found.ids, expected.ids)
        assert (found.found == min(K, round(share * N))).all()


def test_a_fixed_depth_returns_what_passes_among_so_many(
    vectors: Vectors, queries: Vectors
) -> None:
    index = PostFilterIndex(index="flat", threads=1).build(vectors)
    mask = np.arange(N) % 3 == 0
    unfiltered = index.search(queries, 25, depth=25)
    found = index.search(queries, K, where=mask, depth=25)
    for row in range(Q):
        expected = [one for one in unfiltered.ids[row] if mask[one]][:K]
        assert found.ids[row, : len(expected)].tolist() == expected
        assert (found.ids[row, len(expected) :] == -1).all()
    assert (found.found < K).any()
    assert (index.search(queries, K, where=np.ones(N, dtype=bool), depth=1).found == K).all()


def test_filtering_after_stays_so_when_it_is_loaded(vectors: Vectors, tmp_path: Path) -> None:
    built = PostFilterIndex(index="flat", threads=1).build(vectors, attributes={"row": range(N)})
    built.save(tmp_path / "saved")
    loaded = PostFilterIndex.load(tmp_path / "saved", threads=1)
    assert loaded.filtering == "post"
    where = {"row": {"max": 40}}
    np.testing.assert_array_equal(
        loaded.search(vectors[:3], 5, where=where).ids,
        built.search(vectors[:3], 5, where=where).ids,
    )


def test_masks_pass_as_many_as_their_share_and_what_must() -> None:
    values = np.array([0.3, 0.3, 0.9, 0.1, 0.3])
    assert mask_of_share(values, 0.4).tolist() == [True, False, True, False, False]
    assert mask_of_share(values, 0.5).sum() == 3  # halves rounded up
    assert mask_of_share(values, 0.0).sum() == 0
    assert mask_of_share(values, 1.0).all()
    assert mask_of_share(values, 0.4, always=[3, 4]).nonzero()[0].tolist() == [3, 4]
    assert mask_of_share(values, 0.2, always=[3, 4]).nonzero()[0].tolist() == [3, 4]
    assert values.tolist() == [0.3, 0.3, 0.9, 0.1, 0.3]


def test_filters_by_similarity_are_correlated_with_it_as_their_names_say(
    vectors: Vectors, queries: Vectors
) -> None:
    likeness = vectors @ queries[0]
    made = filters_by_similarity(likeness, [0.5, 0.1], seed=3)
    assert {name: int(mask.sum()) for name, mask in made.items()} == {
        f"{kind} {share}": int(share * N)
        for kind in ("random", "near", "far")
        for share in (0.5, 0.1)
    }
    found = {name: filter_correlation(likeness, mask) for name, mask in made.items()}
    assert found["near 0.5"] == pytest.approx(np.corrcoef(likeness, made["near 0.5"])[0, 1])
    assert found["near 0.5"] > 0.5
    assert found["far 0.5"] == pytest.approx(-found["near 0.5"])
    assert abs(found["random 0.5"]) < 0.2
    assert not (made["random 0.1"] & ~made["random 0.5"]).any()
    assert np.isnan(filter_correlation(likeness, np.ones(N, dtype=bool)))


def test_a_document_passes_every_filter_that_is_made_of_it() -> None:
    rng = np.random.default_rng(4)
    table = pl.DataFrame(
        {
            "year": [None, *rng.integers(1900, 2000, size=N - 1).tolist()],
            "random": rng.random(N),
            "lang": [None, *rng.choice(list("abcdefghijklmnop"), size=N - 1).tolist()],
        }
    )
    kinds = ["range of year", "range of random", "one lang", "4 of lang"]
    for row in (1, 17, N - 1, int(np.argmax(table["random"]))):
        made = filters_of_document(table, row, share=0.2, members=4, seed=1)
        assert list(made) == kinds
        assert all(one.mask(table)[row] for one in made.values())
        assert made["range of random"].mask(table).mean() == pytest.approx(0.2)
        assert made["range of year"].mask(table).mean() == pytest.approx(0.2, abs=0.03)
    assert list(filters_of_document(table, 0)) == ["range of random"]
    lone = filters_of_document(table, 5, share=1.0, members=99)
    assert lone["range of random"].mask(table).all()
    with pytest.raises(InputError, match="share is 0"):
        filters_of_document(table, 1, share=0)


def test_recall_with_a_filter_for_each_query_is_that_of_one_filter_for_all(
    vectors: Vectors, queries: Vectors, ways: dict[str, Index]
) -> None:
    for share in (0.3, 0.008):  # of the second, 4 documents pass
        mask = mask_of_share(vectors[:, 0], share)
        found = search_each(ways, queries, [mask] * Q, K, search={"native": {"ef": 10}}, repeats=1)
        _, scores = exact_neighbours(vectors, queries, K, "cosine", allowed=mask)
        for one in found.values():
            recall = filtered_recall(one.hits, found["exact"].hits, vectors, queries, K, "cosine")
            expected = neighbour_recall(
                one.hits, kth_scores(scores, K), vectors, queries, K, "cosine", allowed=mask
            )
            np.testing.assert_allclose(recall, expected)
        half = Hits(found["exact"].hits.ids[:, ::1].copy(), found["exact"].hits.scores.copy())
        half.ids[:, 2:], half.scores[:, 2:] = -1, -np.inf
        recall = filtered_recall(half, found["exact"].hits, vectors, queries, K, "cosine")
        np.testing.assert_allclose(recall, 2 / min(K, int(mask.sum())))


def test_only_judgments_of_what_passes_count() -> None:
    hits = Hits(np.array([[2, 0], [2, 0]]), np.array([[0.9, 0.5]] * 2, dtype=np.float32))
    qrels = Qrels.from_mapping({"p": {"a": 1, "b": 1}, "q": {"b": 1, "gone": 1}})
    names = ["p", "q"], ["a", "b", "c"]
    masks = [np.array([True, False, True])] * 2
    found = filtered_scores(hits, qrels, *names, masks, "R@2")
    assert found[0] == 1.0
    assert np.isnan(found[1])
    with pytest.raises(InputError, match="1 filters for 2 queries"):
        filtered_scores(hits, qrels, *names, masks[:1], "R@2")


def test_an_exact_scan_loses_nothing_against_itself(
    vectors: Vectors, queries: Vectors, ways: dict[str, Index]
) -> None:
    both = {"exact": ways["exact"], "again": ways["exact"], "poor": ways["native"]}
    masks = [mask_of_share(-(vectors @ query), 0.02, always=[0]) for query in queries]
    ids, documents = [f"q{row}" for row in range(Q)], [f"d{row}" for row in range(N)]
    judged: dict[str, Any] = {
        "qrels": Qrels.from_mapping({query: {"d0": 1, "d1": 1} for query in ids}),
        "query_ids": ids,
        "document_ids": documents,
        "search": {"poor": {"ef": 10}},
    }
    again, poor = compare_ways(both, "exact", vectors, queries, masks, **judged)
    assert (again.recall, again.difference) == ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    assert (again.n, again.n_judged) == (Q, Q)
    assert poor.recall[0] < 1.0
    assert poor.recall[1] <= poor.recall[0] <= poor.recall[2] <= 1.0
    assert 0 < poor.speed[1] <= poor.speed[0] <= poor.speed[2]
    with pytest.raises(InputError, match="Did you mean 'exact'"):
        compare_ways(both, "exacd", vectors, queries, masks, **judged)


def test_unusable_requests_are_refused(ways: dict[str, Index], queries: Vectors) -> None:
    with pytest.raises(InputError, match=r"share is 1\.5"):
        mask_of_share(np.zeros(3), 1.5)
    with pytest.raises(InputError, match="1 filters for 12 queries"):
        search_each(ways, queries, [None], K)
    with pytest.raises(InputError, match="repeats is 0"):
        search_each(ways, queries, [None] * Q, K, repeats=0)
