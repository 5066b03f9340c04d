"""Exact search over sparse vectors: the contract, and equality with dense products in float64."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.hits import Hits
from retrieval_eval.indexes.flat import FlatIndex
from retrieval_eval.indexes.refine import RefineIndex
from retrieval_eval.indexes.sparse import SparseIndex
from retrieval_eval.timing import time_search

N, V = 400, 60


def vectors(n: int, seed: int, d: int = V, density: float = 0.1) -> sp.csr_array:
    rng = np.random.default_rng(seed)
    return sp.csr_array((rng.random((n, d)) * (rng.random((n, d)) < density)).astype(np.float32))


DOCUMENTS, QUERIES = vectors(N, 0), vectors(30, 1)


def expected(
    documents: Any, queries: Any, k: int, mask: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rank by a dense product in float64, rounded; ties by ascending row."""
    dense = queries.toarray().astype(np.float64) @ documents.toarray().astype(np.float64).T
    scores = dense.astype(np.float32)
    scores[~(scores > 0)] = -np.inf
    if mask is not None:
        scores[:, ~mask] = -np.inf
    width = min(k, scores.shape[1])
    order = np.argsort(-scores, axis=1, kind="stable")[:, :width]
    best = np.take_along_axis(scores, order, axis=1)
    ids = np.where(best == -np.inf, -1, order)
    padding = ((0, 0), (0, k - width))
    return (
        np.pad(ids, padding, constant_values=-1),
        np.pad(best, padding, constant_values=-np.inf),
    )


def assert_equal(hits: Hits, reference: tuple[NDArray[Any], NDArray[Any]]) -> None:
    np.testing.assert_array_equal(hits.ids, reference[0])
    np.testing.assert_allclose(hits.scores, reference[1], rtol=2e-7)


# -- what is found --------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 10, N, N + 7])
def test_hits_are_those_of_a_dense_product(k: int) -> None:
    index = SparseIndex().build(DOCUMENTS)
    assert_equal(index.search(QUERIES, k), expected(DOCUMENTS, QUERIES, k))
    assert (index.n, index.d, index.metric) == (N, V, "ip")


@settings(max_examples=150, deadline=None)
@given(data=st.data(), k=st.integers(1, 12))
def test_any_vectors_give_the_hits_of_a_dense_product(data: st.DataObject, k: int) -> None:
    # Eighths of whole numbers: sums are exact in any order, and ties are frequent.
    weights = st.one_of(st.just(0), st.integers(-24, 24)).map(lambda eighths: eighths / 8)
    d = data.draw(st.integers(1, 6))
    documents, queries = (
        sp.csr_array(
            data.draw(hnp.arrays(np.float32, (data.draw(st.integers(1, m)), d), elements=weights))
        )
        for m in (9, 4)
    )
    mask = data.draw(st.none() | hnp.arrays(np.bool_, documents.shape[0]))
    index = SparseIndex().build(documents)
    hits = index.search(queries, k, where=mask)
    reference = expected(documents, queries, k, mask)
    np.testing.assert_array_equal(hits.ids, reference[0])
    np.testing.assert_array_equal(hits.scores, reference[1])


def test_equal_scores_come_by_ascending_row_before_the_cut() -> None:
    documents = sp.csr_array(np.array([[1.0], [2.0]] * 50, dtype=np.float32))
    hits = SparseIndex().build(documents).search(sp.csr_array([[1.0]]), 53)
    odd, even = list(range(1, 100, 2)), list(range(0, 100, 2))
    assert hits.ids[0].tolist() == [*odd, *even[:3]]


def test_a_document_without_a_shared_term_or_a_positive_score_is_no_hit() -> None:
    documents = sp.csr_array(
        np.array([[1, 0, 0], [0, 1, 0], [1, -1, 0], [-1, 0, 0], [1e-30, 0, 0], [0, 0, 0]])
    )
    index = SparseIndex().build(documents)
    hits = index.search(sp.csr_array([[1.0, 1.0, 0], [-1.0, 0, 0], [1e-30, 0, 0], [0, 0, 1.0]]), 6)
    assert hits.ids[:, :4].tolist() == [
        [0, 1, 4, -1],
        [3, -1, -1, -1],
        [0, 2, -1, -1],  # 1e-60 is zero in float32
        [-1, -1, -1, -1],
    ]
    assert (hits.scores[hits.ids < 0] == -np.inf).all()


def test_scores_are_sums_in_double_precision() -> None:
    weights = np.array([[2**24, 1, 1, -(2**24)]], dtype=np.float32)  # lost in float32
    hits = SparseIndex().build(sp.csr_array(weights)).search(sp.csr_array(np.ones((1, 4))), 1)
    assert hits.scores.tolist() == [[2.0]]
    step = 2.0**-23  # (1 + step)**2 - (1 + 2 * step): what single products would round away
    one, other = (sp.csr_array([[1 + step, last]]) for last in (-1 - 2 * step, 1.0))
    assert SparseIndex().build(one).search(other, 1).scores.tolist() == [[step**2]]


def test_a_query_alone_scores_as_in_a_batch() -> None:
    index = SparseIndex().build(DOCUMENTS)
    batch = index.search(QUERIES, 20)
    for row in range(QUERIES.shape[0]):
        alone = index.search(QUERIES[row : row + 1], 20)
        np.testing.assert_array_equal(alone.ids[0], batch.ids[row])
        np.testing.assert_array_equal(alone.scores[0], batch.scores[row])


def test_empty_queries_and_documents() -> None:
    documents = sp.vstack([DOCUMENTS[:3], sp.csr_array((2, V), dtype=np.float32)], format="csr")
    index = SparseIndex().build(documents)
    hits = index.search(sp.csr_array((4, V), dtype=np.float32), 3)
    assert (hits.ids == -1).all()
    assert index.search(QUERIES[:0], 3).ids.shape == (0, 3)
    assert_equal(index.search(QUERIES, 5), expected(documents, QUERIES, 5))
    nothing = SparseIndex().build(sp.csr_array((2, 0), dtype=np.float32))
    assert (nothing.search(sp.csr_array((1, 0), dtype=np.float32), 1).ids == -1).all()
    with pytest.raises(InputError, match="index 'sparse': there are no vectors to build from"):
        SparseIndex().build(DOCUMENTS[:0])


# -- what goes in -----------------------------------------------------------------------------


def repeated() -> sp.csr_array:
    """Return DOCUMENTS with every entry split in two, terms out of order."""
    whole = DOCUMENTS.tocoo()
    half = whole.data / 2
    order = np.random.default_rng(5).permutation(2 * whole.nnz)
    rows, terms = (np.concatenate([part, part])[order] for part in whole.coords)
    inside = np.argsort(rows, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=N))])
    weights = np.concatenate([half, half])[order]
    return sp.csr_array((weights[inside], terms[inside], bounds), shape=(N, V))


@pytest.mark.parametrize(
    "given",
    [
        DOCUMENTS.astype(np.float64),
        sp.csr_matrix(DOCUMENTS),
        sp.csr_array(
            (DOCUMENTS.data, DOCUMENTS.indices.astype(np.int64), DOCUMENTS.indptr.astype(np.int64)),
            shape=(N, V),
        ),
        DOCUMENTS.tocsc(),
        DOCUMENTS.tocoo(),
        repeated(),
    ],
    ids=["float64", "matrix", "int64 indices", "csc", "coo", "unsorted duplicates"],
)
def test_any_sparse_form_is_taken_and_never_changed(given: Any) -> None:
    before = [part.copy() for part in (given.data, *_indices(given))]
    hits = SparseIndex().build(given).search(QUERIES.astype(given.dtype), 10)
    assert_equal(hits, expected(DOCUMENTS, QUERIES, 10))
    for one, other in zip(before, (given.data, *_indices(given)), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def _indices(given: Any) -> tuple[Any, ...]:
    return given.coords if given.format == "coo" else (given.indices, given.indptr)


def test_unsorted_queries_with_repeated_terms_are_summed() -> None:
    query = sp.csr_array(
        (np.ones(3, dtype=np.float32), np.array([5, 2, 5]), np.array([0, 3])), shape=(1, V)
    )
    tidy = query.copy()
    tidy.sum_duplicates()
    index = SparseIndex().build(DOCUMENTS)
    np.testing.assert_array_equal(index.search(query, 9).ids, index.search(tidy, 9).ids)
    assert query.indices.tolist() == [5, 2, 5]
    assert_equal(index.search(query, 9), expected(DOCUMENTS, query, 9))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_named(wrong: float) -> None:
    documents = DOCUMENTS.copy()
    documents.data[documents.indptr[7]] = wrong
    with pytest.raises(InputError, match="row 7 of the vectors holds NaN or infinity"):
        SparseIndex().build(documents)
    with pytest.raises(InputError, match="row 7 of the queries holds NaN or infinity"):
        SparseIndex().build(DOCUMENTS).search(documents, 1)


def test_a_row_too_long_for_float32_is_named() -> None:
    long = sp.csr_array(np.diag([1.0, 1e20, 1.0]))
    with pytest.raises(InputError, match="row 1 of the vectors is too long for float32"):
        SparseIndex().build(long)
    with pytest.raises(InputError, match=r"row 1 of the vectors holds .* a number beyond float32"):
        SparseIndex().build(sp.csr_array(np.diag([1.0, 1e40, 1.0])))
    # Each row is short enough, though the sum over all of them is not.
    SparseIndex().build(sp.csr_array(np.diag(np.full(9, 1.5e19))))


def test_queries_over_another_vocabulary_are_refused() -> None:
    with pytest.raises(InputError, match="queries have dimension 59, the index has 60"):
        SparseIndex().build(DOCUMENTS).search(vectors(2, 1, d=59), 1)


def test_dense_and_sparse_vectors_are_not_mistaken_for_each_other() -> None:
    assert (SparseIndex.takes, FlatIndex.takes) == ("sparse", "dense")
    with pytest.raises(InputError, match=r"index 'sparse' takes sparse vectors, .* are ndarray"):
        SparseIndex().build(DOCUMENTS.toarray())
    with pytest.raises(
        InputError, match=r"'sparse' takes sparse .* queries are list: use an index"
    ):
        SparseIndex().build(DOCUMENTS).search([[0.0] * V], 1)
    for form in (DOCUMENTS, sp.coo_array(DOCUMENTS), sp.csr_matrix(DOCUMENTS)):
        with pytest.raises(InputError, match=r"index 'flat' takes dense vectors, but the vectors "):
            FlatIndex(metric="ip").build(form)  # type: ignore[arg-type]
    dense = FlatIndex(metric="ip").build(DOCUMENTS.toarray())
    with pytest.raises(InputError, match=r"the queries are sparse, of shape \(30, 60\): use an"):
        dense.search(QUERIES, 1)


@pytest.mark.parametrize("part", ["indices", "indptr"])
def test_damaged_vectors_are_refused(part: str) -> None:
    for dtype in (np.float32, np.float64):
        damaged = DOCUMENTS.astype(dtype)
        getattr(damaged, part)[3] = 10_000
        for one in (damaged, damaged.T):  # by rows, and by columns
            with pytest.raises(InputError, match="index 'sparse': the vectors are damaged: "):
                SparseIndex().build(one)


@pytest.mark.parametrize("dtype", [bool, complex])
def test_what_is_no_number_is_refused(dtype: type) -> None:
    with pytest.raises(InputError, match="index 'sparse': vectors must be numbers, got"):
        SparseIndex().build(DOCUMENTS.astype(dtype))


def test_it_serves_inner_products_alone() -> None:
    for metric in ("cosine", "l2"):
        with pytest.raises(InputError, match=f"metric is '{metric}': it must be one of ip"):
            SparseIndex(metric=metric)  # type: ignore[arg-type]
    assert SparseIndex().identity() == {"index": "sparse", "metric": "ip", "seed": 0}
    with pytest.raises(InputError, match="index 'sparse', search: unknown parameter 'ef'"):
        SparseIndex().build(DOCUMENTS).search(QUERIES, 1, ef=3)


# -- filters --------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
def test_a_filter_is_applied_before_the_best_are_chosen(share: float) -> None:
    mask = np.random.default_rng(3).random(N) < share
    index = SparseIndex().build(DOCUMENTS, attributes={"keep": mask})
    reference = expected(DOCUMENTS, QUERIES, 15, mask)
    assert_equal(index.search(QUERIES, 15, where=mask), reference)
    assert_equal(index.search(QUERIES, 15, where={"keep": True}), reference)
    assert index.filtering == "pre"


# -- saving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory_map", [False, True])
def test_a_saved_index_answers_alike(tmp_path: Path, memory_map: bool) -> None:
    index = SparseIndex().build(DOCUMENTS, attributes={"row": list(range(N))})
    index.save(tmp_path / "saved")
    assert index.size_bytes() == sum(
        path.stat().st_size for path in (tmp_path / "saved").glob("*.npy")
    )
    loaded = SparseIndex.load(tmp_path / "saved", memory_map=memory_map)
    assert (loaded.n, loaded.d, loaded.metric, loaded.memory_mapped) == (N, V, "ip", memory_map)
    where = {"row": {"max": 100}}
    for options in ({}, {"where": where}):
        one, other = (which.search(QUERIES, 12, **options) for which in (index, loaded))
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.scores, other.scores)


def test_changed_cut_or_exchanged_files_are_refused(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 1)):
        SparseIndex().build(vectors(50, seed)).save(tmp_path / name)
    rng = random.Random(2)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["artefact.json", "rows.npy", "starts.npy", "weights.npy"]
    for trial in range(40):
        path = tmp_path / "one" / rng.choice(files)
        content = path.read_bytes()
        changed = bytearray(content)
        place = rng.randrange(len(content))
        if trial % 3 == 0:
            del changed[place:]
        elif trial % 3 == 1:
            changed[place] ^= 1 << rng.randrange(8)
        else:
            changed = bytearray((tmp_path / "two" / path.name).read_bytes())
        if path.name == "artefact.json" and trial % 3 == 2:
            continue  # names other checksums, all of them wrong: tested with the others
        path.write_bytes(changed)
        with pytest.raises(InputError):
            SparseIndex.load(tmp_path / "one")
        path.write_bytes(content)
    SparseIndex.load(tmp_path / "one")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows", np.zeros(3, dtype=np.int32), "the inverted lists do not fit together"),
        ("starts", np.zeros(9, dtype=np.int64), "the inverted lists do not fit together"),
        ("weights", np.zeros(3), "weights.npy: expected float32 of one axis"),
        ("weights", np.zeros((3, 1), dtype=np.float32), "weights.npy: expected float32 of one"),
        ("rows", None, "rows.npy: not a readable .npy file"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(
    tmp_path: Path, name: str, content: NDArray[Any] | None, message: str
) -> None:
    index = SparseIndex().build(DOCUMENTS)
    facts = index.write_files(tmp_path)
    if content is None:
        (tmp_path / f"{name}.npy").write_bytes(b"words")
    else:
        np.save(tmp_path / f"{name}.npy", content)
    with pytest.raises(InputError, match=message):
        SparseIndex.restore(tmp_path, facts, threads=None)


# -- use ------------------------------------------------------------------------------------------


def test_the_bound_search_can_be_timed() -> None:
    index = SparseIndex(threads=1).build(DOCUMENTS)
    call = index.bind(5)
    times = time_search(
        call,
        index.prepare(QUERIES),
        repeats=2,
        latency_queries=7,
        batch_queries=11,
        seed=0,
    )
    assert (times.latency_calls, times.batch_queries) == (14, 11)
    labels, scores = call(index.prepare(QUERIES))
    hits = index.search(QUERIES, 5)
    np.testing.assert_array_equal(labels, hits.ids)
    np.testing.assert_array_equal(scores, hits.scores)
    nothing = index.bind(5, where=np.zeros(N, dtype=bool))
    assert nothing(index.prepare(QUERIES))[0].shape == (30, 0)


def test_threads_that_search_at_once_do_not_disturb_each_other() -> None:
    index = SparseIndex().build(DOCUMENTS)
    reference = [index.search(QUERIES, k).ids for k in range(1, 9)]
    wrong: list[int] = []

    def work(k: int) -> None:
        found = [index.search(QUERIES, k).ids for _ in range(20)]
        wrong.extend(k for ids in found if not np.array_equal(ids, reference[k - 1]))

    workers = [threading.Thread(target=work, args=(k,)) for k in range(1, 9)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_another_index_does_not_go_around_it() -> None:
    with pytest.raises(
        InputError, match=r"'refine' takes dense vectors, .*SparseIndex' inside it sp"
    ):
        RefineIndex(metric="ip", index="retrieval_eval.indexes.sparse:SparseIndex")


def test_it_says_what_served() -> None:
    index = SparseIndex().build(DOCUMENTS)
    assert index.served_by(3) == "inverted lists, exact"
    assert index.exact
    assert not index.seeded
    with pytest.raises(InputError, match="build or load it before searching"):
        SparseIndex().search(QUERIES, 1)
    index.close()
    with pytest.raises(InputError, match="build or load it before searching"):
        index.search(QUERIES, 1)
