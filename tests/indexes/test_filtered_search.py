"""Who filters, what filtering after a search costs, and recall where few documents pass."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval_eval.hits import Hits
from retrieval_eval.indexes import get_index
from retrieval_eval.indexes.selection import RawHits, Selection, post_filtered
from retrieval_eval.neighbours import exact_neighbours, kth_scores, neighbour_recall

N, D = 400, 8
Vectors = NDArray[np.float32]


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("flat", {}, "pre"),
        ("sq8", {}, "pre"),
        ("faiss-hnsw", {}, "native"),
        ("ivf-pq", {"nlist": 4, "m": 4, "nbits": 4}, "native"),
        ("pq", {"m": 4, "nbits": 4}, "post"),
        ("faiss", {"factory": "IVF4,PQ4x4fs"}, "native"),
        ("faiss", {"factory": "PQ4x4fs"}, "post"),
        ("faiss", {"factory": "NSG8"}, "post"),
        ("refine", {"index": {"pq": {"m": 4, "nbits": 4}}}, "post"),
        ("refine", {"index": "flat"}, "pre"),
    ],
)
def test_the_index_says_who_filters(
    name: str, options: dict[str, object], expected: str, vectors: Vectors
) -> None:
    assert get_index(name, threads=1, **options).build(vectors).filtering == expected


class Ranked:
    """Returns documents in order of their number, as many as asked for; counts its calls."""

    def __init__(self, n: int, reachable: int | None = None) -> None:
        self.n = n
        self.reachable = n if reachable is None else reachable
        self.wanted: list[int] = []

    def bind(self, k: int) -> object:
        def call(queries: Vectors) -> RawHits:
            self.wanted.append(k)
            labels = np.tile(np.arange(k, dtype=np.int64), (len(queries), 1))
            labels[labels >= self.reachable] = -1
            return labels, -labels.astype(np.float32)

        return call


def run(ranked: Ranked, mask: NDArray[np.bool_], k: int) -> RawHits:
    call = post_filtered(ranked.bind, Selection(mask, int(mask.sum()), None), k)  # type: ignore[arg-type]
    return call(np.zeros((3, 2), dtype=np.float32))


def test_filtering_after_the_search_asks_until_enough_pass() -> None:
    mask = np.zeros(1000, dtype=bool)
    mask[500:510] = True
    ranked = Ranked(1000)
    labels, _ = run(ranked, mask, 5)
    assert labels.tolist() == [list(range(500, 505))] * 3
    assert ranked.wanted == [750]
    last = np.zeros(1000, dtype=bool)
    last[[0, 1, 999]] = True
    ranked = Ranked(1000)
    labels, _ = run(ranked, last, 3)
    assert labels.tolist() == [[0, 1, 999]] * 3
    assert ranked.wanted == [1000]
    spread = np.zeros(10_000, dtype=bool)
    spread[500:5500] = True
    ranked = Ranked(10_000)
    labels, _ = run(ranked, spread, 100)
    assert labels.tolist() == [list(range(500, 600))] * 3
    assert ranked.wanted == [300, 1200]


def test_filtering_after_the_search_stops_when_the_index_has_no_more() -> None:
    mask = np.zeros(1000, dtype=bool)
    mask[500:] = True
    ranked = Ranked(1000, reachable=100)  # a search that visits few lists never gets further
    labels, _ = run(ranked, mask, 100)
    assert (labels == -1).all()
    assert ranked.wanted == [300]


@pytest.mark.parametrize("share", [0.0025, 0.02, 0.3, 1.0])
@pytest.mark.parametrize("name", ["flat", "pq"])
def test_recall_counts_to_as_many_as_pass(name: str, share: float, vectors: Vectors) -> None:
    options = {"m": 8, "nbits": 8} if name == "pq" else {}
    mask = np.arange(N) < share * N
    queries = vectors[::40] + 0.1
    index = get_index(name, threads=1, metric="l2", **options).build(vectors)
    hits = index.search(queries, 10, where=mask)
    _, scores = exact_neighbours(vectors, queries, 10, "l2", allowed=mask)
    recall = neighbour_recall(
        hits, kth_scores(scores, 10), vectors, queries, 10, "l2", allowed=mask
    )
    assert (hits.found == min(10, mask.sum())).all()
    if name == "flat" or share < 0.02:  # at most as many as asked for pass: all are found
        assert (recall == 1.0).all()
    else:
        assert 0.3 < recall.mean() <= 1.0


def test_nothing_is_asked_of_the_library_where_nothing_passes(
    vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = get_index("flat").build(vectors)
    monkeypatch.setattr(index, "_bind_filtered", lambda *_: 1 / 0)
    hits = index.search(vectors[:2], 3, where=np.zeros(N, dtype=bool))
    assert isinstance(hits, Hits)
    assert (hits.ids == -1).all()
