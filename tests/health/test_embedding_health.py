"""The health of embeddings against brute force, and what cannot be measured."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.geometry import local_intrinsic_dimensionality
from retrieval_eval.health import (
    FIGURES,
    QUERY_FIGURES,
    EmbeddingHealth,
    effective_rank,
    embedding_health,
    hubness,
    measure,
    searches,
)
from retrieval_eval.health.scan import scan

Array = NDArray[Any]


def some_vectors(n: int = 400, d: int = 12, seed: int = 0) -> Array:
    """Draw vectors of several lengths around a point off the origin."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) + 0.7) * rng.uniform(0.5, 2, size=(n, 1))


def unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=1)[:, None]


def cosines(documents: Array, queries: Array) -> Array:
    return unit(queries) @ unit(documents).T


Case = tuple[Array, Array, Array, Array, EmbeddingHealth]


@pytest.fixture(scope="module", params=[0, 7], ids=["no zeros", "zeros"])
def case(request: pytest.FixtureRequest) -> Case:
    """Return documents and queries, with and without those that are zero, and their figures."""
    filled = some_vectors()
    filled[5], filled[80] = filled[4], 2 * filled[4]
    filled[90] = filled[91] * (1 + 1e-5 * np.random.default_rng(1).normal(size=12))
    filled[:, 3] = 0.25
    asked = some_vectors(60, seed=2) - 0.5
    zeros = request.param
    documents = np.insert(filled, [0, 10, 10, 30, 30, 200, 400][:zeros], 0, axis=0)
    queries = np.insert(asked, [0] * zeros, 0, axis=0)
    return documents, filled, queries, asked, embedding_health(documents, queries, k=5)


def test_figures_of_all_documents_follow_from_brute_force(case: Case) -> None:
    documents, filled, queries, _, found = case
    n = len(documents)
    zeros = n - 400
    assert (found.n_documents, found.n_dimensions, found.n_queries) == (n, 12, len(queries))
    assert (found.n_zero, found.n_zero_queries) == (zeros, zeros)
    lengths = np.linalg.norm(documents, axis=1)
    expected = [lengths.min(), *np.percentile(lengths, [1, 50, 99]), lengths.max()]
    norms = [found.norm_min, found.norm_p01, found.norm_median, found.norm_p99, found.norm_max]
    assert norms == pytest.approx(expected)
    assert found.norm_cv == pytest.approx(lengths.std() / lengths.mean())
    assert found.unit_length_share == np.mean(np.abs(lengths - 1) < 0.001)
    assert found.dead_dimensions == (0 if zeros else 1)
    assert found.exact_duplicate_share == (2 + zeros) / n
    pairs = cosines(filled, filled)[np.triu_indices(400, 1)]
    assert found.mean_cosine == pytest.approx(pairs.mean())
    assert found.mean_vector_length == pytest.approx(np.linalg.norm(unit(filled).mean(axis=0)))
    assert found.reasons == {}


def test_figures_of_the_spectrum_follow_from_brute_force(case: Case) -> None:
    _, filled, _, _, found = case
    assert found.n_spectrum == 400
    assert found.rankme == pytest.approx(effective_rank(filled))
    variances = np.sort(np.linalg.eigvalsh(np.cov(filled.T, bias=True)))[::-1]
    shares = variances / variances.sum()
    assert found.first_component_share == pytest.approx(shares[0])
    assert found.components_99 == 1 + int(np.argmax(np.cumsum(shares) >= 0.99))
    assert found.top_dimension_share == pytest.approx(filled.var(axis=0).max() / variances.sum())


def test_figures_of_neighbours_follow_from_brute_force(case: Case) -> None:
    _, filled, _, _, found = case
    own = cosines(filled, filled)
    np.fill_diagonal(own, -np.inf)
    assert found.n_searched == 400
    assert found.nearest_cosine_median == pytest.approx(np.median(own.max(axis=1)))
    near = (own >= 0.999).any(axis=1)
    assert found.near_duplicate_share == near.mean()
    assert near[[4, 5, 80, 90, 91]].all()
    estimates = local_intrinsic_dimensionality(filled, 100, "cosine")
    assert (found.n_lid, found.lid_k) == (400, 100)
    assert found.lid_mean == pytest.approx(estimates.mean())
    assert found.lid_median == pytest.approx(np.median(estimates))
    assert found.n_subcorpus == 400
    lists = np.argsort(-own.round(12), axis=1, kind="stable")[:, :5]
    hubs = hubness(lists, 400, own_lists=True)
    assert found.hubness_skewness == pytest.approx(hubs.skewness)
    assert (found.antihub_share, found.top_hub_share) == (hubs.antihub_share, hubs.top_hub_share)


def test_figures_of_queries_follow_from_brute_force(case: Case) -> None:
    _, filled, _, asked, found = case
    theirs = cosines(filled, asked)
    assert (found.n_queries_searched, found.n_query_lists) == (60, 60)
    assert found.query_nearest_cosine_median == pytest.approx(np.median(theirs.max(axis=1)))
    hubs = hubness(np.argsort(-theirs.round(12), axis=1, kind="stable")[:, :5], 400)
    assert found.query_hubness_skewness == pytest.approx(hubs.skewness)
    assert found.query_antihub_share == hubs.antihub_share
    assert found.query_top_hub_share == hubs.top_hub_share
    ours, centre = unit(filled).mean(axis=0), unit(asked).mean(axis=0)
    assert found.centroid_distance == pytest.approx(np.linalg.norm(ours - centre))
    cosine = ours @ centre / np.linalg.norm(ours) / np.linalg.norm(centre)
    assert found.centroid_cosine == pytest.approx(cosine)


def test_zero_vectors_are_nobody_s_neighbours() -> None:
    filled = some_vectors(50) - 0.7  # half of the cosines are below 0, which is that of a zero
    found = embedding_health(np.vstack([np.zeros((30, 12)), filled]), filled, k=45).as_dict()
    alone = embedding_health(filled, filled, k=45).as_dict()
    for name in list(FIGURES)[list(FIGURES).index("mean_cosine") :]:
        assert found[name] == pytest.approx(alone[name]), name


def test_a_sample_is_searched_among_all_documents() -> None:
    half = some_vectors(1500)
    found = embedding_health(np.vstack([half, half]), sample=40)
    # Among 40 of 3,000 there are next to no two copies.
    assert (found.n_searched, found.near_duplicate_share) == (40, 1.0)
    assert found.nearest_cosine_median == pytest.approx(1)
    assert found.n_lid == 40


def test_a_share_of_a_sample_estimates_that_of_all() -> None:
    documents = some_vectors(2500)
    documents[2000:2250] = documents[2250:] * 3
    whole = embedding_health(documents, sample=2500).near_duplicate_share
    assert whole == 0.2
    estimates = [
        embedding_health(documents, sample=400, seed=seed).near_duplicate_share or 0
        for seed in range(5)
    ]
    assert len(set(estimates)) > 1
    assert np.mean(estimates) == pytest.approx(0.2, abs=4 * 0.4 / np.sqrt(5 * 400))


def test_what_is_drawn_is_bounded_and_its_size_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SPECTRUM_ROWS", 90)
    monkeypatch.setattr(searches, "SUBCORPUS_ROWS", 80)
    monkeypatch.setattr(measure, "SUBCORPUS_ROWS", 80)
    found = embedding_health(some_vectors(), some_vectors(100, seed=1), sample=30)
    drawn = (found.n_spectrum, found.n_subcorpus, found.n_query_lists)
    assert drawn == (90, 80, 80)
    assert (found.n_searched, found.n_queries_searched, found.n_lid) == (30, 30, 30)
    assert found.top_hub_share is not None
    assert 10 / 79 < found.top_hub_share <= 1  # some document is in more lists than the mean


def test_a_seed_decides_and_threads_do_not() -> None:
    import faiss

    documents, queries = some_vectors(3000, 8), some_vectors(200, 8, seed=1)
    threads = faiss.omp_get_max_threads()
    found = []
    try:
        for count in (1, 3):
            faiss.omp_set_num_threads(count)
            found.append(embedding_health(documents, queries, sample=100, seed=5).as_dict())
    finally:
        faiss.omp_set_num_threads(threads)
    assert found[0] == found[1]
    other = embedding_health(documents, queries, sample=100, seed=6)
    assert other.lid_mean != found[0]["lid_mean"]
    assert other.mean_cosine == found[0]["mean_cosine"]  # of all documents


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f4", "float64"])
def test_precision_and_storage_change_nothing(tmp_path: Path, dtype: str) -> None:
    stored = some_vectors(300).astype(np.float16)
    stored[3] = stored[2]
    np.save(tmp_path / "x.npy", stored.astype(dtype))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    expected = embedding_health(stored.astype(np.float64))
    assert embedding_health(mapped).as_dict() == expected.as_dict()


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    n, d = 300_000, 64
    path = tmp_path / "x.npy"
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(n, d))
    rng = np.random.default_rng(0)
    for start in range(0, n, 25_000):
        file[start : start + 25_000] = rng.random((25_000, d), dtype=np.float32) - 0.5
    file.flush()
    mapped = np.load(path, mmap_mode="r")
    embedding_health(mapped[:2000])  # loads libraries
    tracemalloc.start()
    try:
        embedding_health(mapped, mapped[:500], sample=20, budget_bytes=16 * 2**20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.9 * n * d * 4  # what a float32 copy would take


def test_inputs_are_not_changed() -> None:
    documents, queries = some_vectors(50), some_vectors(20, seed=1)
    before = documents.copy(), queries.copy()
    documents.flags.writeable = queries.flags.writeable = False
    embedding_health(documents, queries)
    np.testing.assert_array_equal(documents, before[0])
    np.testing.assert_array_equal(queries, before[1])


def test_zeros_of_either_sign_are_equal() -> None:
    documents = some_vectors(40)
    documents[0, 0], documents[1] = 0.0, documents[0]
    documents[1, 0] = -0.0
    assert embedding_health(documents).exact_duplicate_share == 2 / 40


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_vectors_that_differ_in_one_number_are_no_duplicates(dtype: str) -> None:
    rows = np.zeros((3001, 16), dtype=dtype)
    rows[:, 5] = 1
    rows[np.arange(3000), np.arange(3000) % 5] = 1 + np.arange(3000) // 5 % 40
    rows[:, 15] = np.arange(3001) // 200
    distinct = len(np.unique(rows, axis=0))
    assert embedding_health(rows, sample=1).exact_duplicate_share == 0
    assert distinct == 3001
    assert embedding_health(rows[:, :15], sample=1).exact_duplicate_share == pytest.approx(
        1 - 1 / 3001
    )


def test_numbers_that_end_in_zeros_are_no_weaker_fingerprints() -> None:
    # A sum of products alone would take hundreds of these million for copies.
    bits = (np.arange(2**20)[:, None] >> np.arange(20)) & 1
    signs = (2 * bits - 1).astype(np.float16)
    assert scan(signs, "signs").n_repeated == 0


def test_cosine_one_finds_copies_of_any_length() -> None:
    documents = some_vectors(300)
    documents[:60] = documents[60:120] * np.random.default_rng(3).uniform(0.1, 9, (60, 1))
    found = embedding_health(documents, duplicate_cosine=1.0)
    assert found.near_duplicate_share == 120 / 300
    assert found.exact_duplicate_share == 0


def test_dead_dimensions_survive_rounding() -> None:
    documents = some_vectors(200)
    documents[:, 2] = 0.5
    documents[:, 7] = 0.5 + 1e-8 * np.arange(200) / 200
    documents[:, 9] = 0.5 + 1e-3 * np.arange(200) / 200
    assert embedding_health(documents).dead_dimensions == 2


def plain(found: dict[str, Any]) -> bool:
    return all(
        value is None or (type(value) is int or (type(value) is float and math.isfinite(value)))
        for value in found.values()
    )


DOCUMENTS = {
    "one": np.ones((1, 3)),
    "one zero": np.zeros((1, 3)),
    "two": np.eye(2, 3),
    "two of which one is zero": np.array([[0.0, 0.0], [1.0, 2.0]]),
    "zeros": np.zeros((30, 3)),
    "copies": np.full((300, 3), 0.1, dtype=np.float32),
    "equally far": np.eye(64),
    "ten": some_vectors(10),
    "eleven": some_vectors(11),
    "opposite": np.array([[1.0, 0.0], [-1.0, 0.0]]),
    "one dimension": np.arange(1.0, 41)[:, None],
    "long": 1e150 * some_vectors(30),
    "short": 1e-150 * some_vectors(30),
}


@pytest.mark.parametrize("asked", ["none", "queries", "zeros", "itself"])
@pytest.mark.parametrize("case", DOCUMENTS)
def test_what_cannot_be_measured_is_none_with_a_reason(case: str, asked: str) -> None:
    documents = DOCUMENTS[case]
    d = documents.shape[1]
    queries = {
        "none": None,
        "queries": some_vectors(5, d),
        "zeros": np.zeros((4, d)),
        "itself": documents,
    }[asked]
    found = embedding_health(documents, queries)
    figures = found.as_dict()
    assert plain(figures)
    assert {name for name in figures if figures[name] is None} == set(found.reasons)
    assert all(found.reasons.values())
    if asked == "none":
        assert set(QUERY_FIGURES) <= set(found.reasons)
    assert all(isinstance(note, str) for note in found.notes())


def test_few_documents_leave_local_dimensionality_to_fewer_neighbours_or_unmeasured() -> None:
    few = embedding_health(DOCUMENTS["ten"])
    assert (few.lid_k, few.lid_median, few.n_lid) == (None, None, 0)
    assert few.reasons["lid_median"] == (
        "an estimate takes at least 10 neighbours, and there are 9"
    )
    assert few.nearest_cosine_median is not None
    assert embedding_health(DOCUMENTS["eleven"]).lid_k == 10
    assert embedding_health(some_vectors(200)).lid_k == 100


def test_copies_are_duplicates_without_a_dimension() -> None:
    found = embedding_health(DOCUMENTS["copies"])
    assert (found.exact_duplicate_share, found.near_duplicate_share) == (1.0, 1.0)
    assert (found.n_lid, found.first_component_share) == (0, None)
    assert found.reasons["first_component_share"] == "the documents do not vary"
    assert found.dead_dimensions == 3
    assert found.mean_cosine == pytest.approx(1)


def test_documents_equally_far_have_no_finite_dimension() -> None:
    found = embedding_health(DOCUMENTS["equally far"])
    assert found.lid_mean is None
    assert found.rankme == pytest.approx(64.0013, abs=1e-4)
    assert found.reasons["lid_mean"].endswith("are copies of it, or all equally far")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 29_999])
def test_what_is_not_finite_is_named(value: float, row: int) -> None:
    documents = some_vectors(30_000, 4).astype(np.float32)
    documents[row, 2] = value
    with pytest.raises(InputError, match=f"documents: row {row} holds {value} in column 2 "):
        embedding_health(documents)
    with pytest.raises(InputError, match=f"^q.npy: row {row} holds"):
        embedding_health(documents[:1] * 0 + 1 if row else np.ones((1, 4)), documents,
                         names=("d.npy", "q.npy"))  # fmt: skip


def test_a_vector_too_long_for_its_norm_is_refused() -> None:
    documents = some_vectors(20)
    documents[7] *= 1e200
    with pytest.raises(InputError, match="documents: row 7 is too long"):
        embedding_health(documents)


@pytest.mark.parametrize(
    ("documents", "queries", "part"),
    [
        (np.ones(3), None, r"documents: expected floats of shape \(n, d\).*float64 \(3,\)"),
        (np.ones((3, 2), dtype=np.int8), None, "int8"),
        (np.empty((0, 2)), None, "at least one vector"),
        (np.ones((3, 2)), np.empty((0, 2)), "queries: expected"),
        (np.ones((3, 2)), np.ones((1, 3)), "queries: dimension 3, but documents has 2"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    documents: Array, queries: Array | None, part: str
) -> None:
    with pytest.raises(InputError, match=part):
        embedding_health(documents, queries)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("sample", 0),
        ("k", 0),
        ("budget_bytes", 0),
        ("duplicate_cosine", 0.0),
        ("duplicate_cosine", 1.01),
        ("duplicate_cosine", math.nan),
    ],
)
def test_options_out_of_range_are_refused(name: str, value: float) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(InputError, match=f"{name} is {value}: it must be"):
        embedding_health(some_vectors(5), **options)


def test_figures_are_described_in_order() -> None:
    found = embedding_health(some_vectors(20)).as_dict()
    assert list(found) == list(FIGURES)
    assert all(FIGURES[name] and "\n" not in FIGURES[name] for name in FIGURES)
    assert set(QUERY_FIGURES) < set(FIGURES)


def test_nothing_stands_out_in_random_directions() -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(4000, 32)))
    assert embedding_health(vectors, vectors[:100]).notes() == []


def test_what_stands_out_is_said_in_words() -> None:
    rng = np.random.default_rng(1)
    documents = rng.normal(size=(1000, 64)) @ np.diag([1.0] * 12 + [0.001] * 52)
    documents[:, 0] = documents[:, 0] * 4 + 12
    documents[:, 63] = 0
    documents[:20], documents[500:510] = documents[20:40], 0
    documents[100:110] = documents[110:120] * 1.5
    documents[200] = documents.mean(axis=0)
    found = embedding_health(documents, np.vstack([documents[:60] * 2, np.zeros((1, 64))]), k=5)
    notes = found.notes()
    for place, part in enumerate(
        [
            "10 of 1000 documents have norm 0, and no cosine with anything",
            "1 of 61 queries have norm 0",
            "vectors are of different lengths, 0 to ",
            "1 of 64 dimensions have the same value in all documents",
            "5 % of the documents have an exact duplicate",
            " of the documents have another at a cosine of 0.999 or more from 990",
            "99 % of the variance lies in 12 of 64 dimensions",
            "one of 64 dimensions holds ",
            "two documents drawn at random have a cosine of 0.9",
        ]
    ):
        assert part in notes[place]


def test_a_hub_is_said_in_words() -> None:
    # All directions but one are far from each other, and the one is near to all.
    documents = np.vstack([np.eye(200), np.full((1, 200), 1.0)])
    found = embedding_health(documents, np.eye(200) + 0.01, k=1)
    assert found.top_hub_share == 1.0
    notes = found.notes()
    assert "one document is among the 1 nearest of 100 % of 200 others" in notes
    assert found.antihub_share == pytest.approx(199 / 201)
    assert "99 % of 201 documents are among the 1 nearest of no other" in notes
    asked = "one document of 201 is among the 1 nearest of 100 % of the queries"
    assert asked in embedding_health(documents, 1 + 0.01 * np.eye(200), k=1).notes()


def test_real_vectors(collections: Path) -> None:
    folder = collections / "embeddings" / "cranfield-minilm"
    documents, queries = (
        np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("docs", "queries")
    )
    found = embedding_health(documents, queries, sample=300)
    wide = documents.astype(np.float64)
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(wide.T @ wide), 0))
    shares = values / values.sum() + 1e-7
    assert found.rankme == pytest.approx(np.exp(-np.sum(shares * np.log(shares))), rel=1e-5)
    assert found.unit_length_share == 1
    assert found.dead_dimensions == 3  # this model's 127, 223 and one more
    assert found.exact_duplicate_share == 2 / 1400  # empty documents
    assert found.lid_median == pytest.approx(15.6, rel=0.1)
