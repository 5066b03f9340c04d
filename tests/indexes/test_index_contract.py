"""What the built-in indexes promise beyond the suite that every backend passes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from retrieval_eval.errors import InputError
from retrieval_eval.indexes import INDEXES, Index, get_index
from retrieval_eval.indexes import hnsw as hnsw_module
from retrieval_eval.neighbours import METRICS, Metric, exact_neighbours, true_scores
from retrieval_eval.testing.index_conformance import assert_contract, assert_equal_hits

Vectors = NDArray[np.float32]
Make = Callable[..., Index]

N, D, Q = 700, 24, 30


@dataclass(frozen=True)
class Case:
    """Parameters that suit the vectors below, and two search settings that differ in effect."""

    build: dict[str, Any] = field(default_factory=dict)
    narrow: dict[str, Any] = field(default_factory=dict)
    wide: dict[str, Any] = field(default_factory=dict)


CASES = {
    "flat": Case(),
    "faiss-hnsw": Case({"M": 16}, {"ef": 5}, {"ef": N}),
    "hnsw": Case({}, {"ef": 5}, {"ef": N}),
    "ivf-flat": Case({"nlist": 8}, {"nprobe": 1}, {"nprobe": 8}),
    "ivf-pq": Case({"nlist": 8, "m": 8, "nbits": 4}, {"nprobe": 1}, {"nprobe": 8}),
}
UNCOMPRESSED = [name for name in CASES if name != "ivf-pq"]
APPROXIMATE = [name for name in CASES if name != "flat"]
GRAPHS = ["faiss-hnsw", "hnsw"]
NO_HNSWLIB = "hnswlib is not installed: it comes with the extra 'hnsw'"


@pytest.fixture
def make() -> Make:
    """Return a function that constructs a backend, or skips without its library."""

    def construct(name: str, **options: Any) -> Index:
        if name == "hnsw":
            pytest.importorskip("hnswlib", reason=NO_HNSWLIB)
        return get_index(name, **{"threads": 1, **CASES[name].build, **options})

    return construct


@pytest.fixture(scope="module")
def documents() -> Vectors:
    """Vectors whose norms differ, so that the metrics disagree."""
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(N, D)) * rng.uniform(0.5, 2.5, size=(N, 1))
    return vectors.astype(np.float32)


@pytest.fixture(scope="module")
def queries() -> Vectors:
    return np.random.default_rng(8).normal(size=(Q, D)).astype(np.float32)


def refusal(action: Callable[[], object]) -> str | None:
    """Return the message of the InputError that `action` raises, or None if it succeeds."""
    try:
        action()
    except InputError as error:
        return str(error)
    return None


# -- hits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", [*GRAPHS, "ivf-flat"])
def test_an_exhaustive_search_equals_flat(
    make: Make, name: str, metric: Metric, documents: Vectors, queries: Vectors
) -> None:
    flat = make("flat", metric=metric).build(documents).search(queries, 10)
    index = make(name, metric=metric).build(documents)
    hits = index.search(queries, 10, **CASES[name].wide)
    np.testing.assert_array_equal(hits.ids, flat.ids)
    np.testing.assert_array_equal(flat.ids, exact_neighbours(documents, queries, 10, metric)[0])


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("name", UNCOMPRESSED)
def test_a_document_is_the_nearest_to_itself(
    make: Make, name: str, metric: Metric, documents: Vectors
) -> None:
    index = make(name, metric=metric).build(documents)
    hits = index.search(documents[:20], 3, **CASES[name].wide)
    assert hits.ids[:, 0].tolist() == list(range(20))
    np.testing.assert_allclose(hits.scores[:, 0], float(metric == "cosine"), atol=2e-5)
    assert (hits.scores[:, 1] < hits.scores[:, 0] - 1e-3).all()


@pytest.mark.parametrize("name", ["ivf-flat", "ivf-pq"])
@pytest.mark.parametrize("metric", METRICS)
def test_a_visited_list_with_fewer_than_k_documents_pads(
    make: Make, name: str, metric: Metric, documents: Vectors, queries: Vectors
) -> None:
    index = make(name, metric=metric).build(documents)
    hits = index.search(queries, 400, nprobe=1)
    assert_contract(hits, Q, 400, N)
    assert hits.found.max() < 400


@pytest.mark.parametrize("name", UNCOMPRESSED)
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3])
def test_the_scale_of_the_vectors_changes_no_hit_under_inner_product(
    make: Make, name: str, scale: float, documents: Vectors, queries: Vectors
) -> None:
    if name == "hnsw" and scale < 1e-3:
        pytest.skip("hnswlib returns 1 - ip, which loses digits far below 1, as documented")
    factor = np.float32(scale)
    index = make(name, metric="ip").build(documents * factor)
    hits = index.search(queries, 10, **CASES[name].wide)
    np.testing.assert_array_equal(hits.ids, exact_neighbours(documents, queries, 10, "ip")[0])
    expected = true_scores(documents * factor, queries, hits.ids, "ip")
    np.testing.assert_allclose(hits.scores, expected, rtol=1e-4)


# -- inputs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ["flat", "hnsw"])
def test_vectors_too_long_for_float32_give_true_hits_or_are_refused(
    make: Make, name: str, metric: Metric
) -> None:
    vectors = np.sign(np.random.default_rng(1).normal(size=(50, D))).astype(np.float32)
    vectors *= np.float32(3e38)  # finite, but neither norm nor inner product is
    message = refusal(lambda: make(name, metric=metric).build(vectors))
    if message is not None:
        assert "row 0 of the vectors" in message
        return
    hits = make(name, metric=metric).build(vectors).search(vectors[:3], 3)
    expected = exact_neighbours(vectors / np.float32(3e38), vectors[:3], 3, metric)[0]
    np.testing.assert_array_equal(hits.ids, expected)


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("name", CASES)
def test_a_zero_query_is_a_query_like_any_other_under_ip_and_l2(
    make: Make, name: str, metric: Metric, documents: Vectors
) -> None:
    index = make(name, metric=metric).build(documents)
    hits = index.search(np.zeros((1, D), dtype=np.float32), 6, **CASES[name].wide)
    assert hits.found.tolist() == [6]


# -- parameters -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wrong", "meant"),
    [
        ("faiss-hnsw", "m", "M"),
        ("faiss-hnsw", "efConstruction", "ef_construction"),
        ("hnsw", "ef_constructon", "ef_construction"),
        ("ivf-flat", "n_list", "nlist"),
        ("ivf-pq", "nbit", "nbits"),
    ],
)
def test_an_unknown_build_parameter_is_refused_with_a_suggestion(
    make: Make, name: str, wrong: str, meant: str
) -> None:
    pattern = f"index '{name}': unknown parameter '{wrong}'. Did you mean '{meant}'\\? Available: "
    with pytest.raises(InputError, match=pattern):
        make(name, **{wrong: 16})


@pytest.mark.parametrize(
    ("name", "wrong", "meant"),
    [
        ("faiss-hnsw", "EF", "ef"),
        ("hnsw", "eff", "ef"),
        ("ivf-flat", "nprobes", "nprobe"),
        ("ivf-pq", "n_probe", "nprobe"),
    ],
)
def test_an_unknown_search_parameter_is_refused_with_a_suggestion(
    make: Make, name: str, wrong: str, meant: str, documents: Vectors, queries: Vectors
) -> None:
    index = make(name).build(documents)
    pattern = f"'{name}', search: unknown parameter '{wrong}'. Did you mean '{meant}'\\?"
    with pytest.raises(InputError, match=pattern):
        index.search(queries, 3, **{wrong: 8})


def test_flat_has_no_parameters(make: Make, documents: Vectors) -> None:
    with pytest.raises(InputError, match=r"unknown parameter 'M'\. Available: none"):
        make("flat", M=8)
    with pytest.raises(InputError, match=r"search: unknown parameter 'ef'\. Available: none"):
        make("flat").build(documents).search(documents[:1], 1, ef=8)


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        ("faiss-hnsw", "M", 1),
        ("hnsw", "M", 16.0),
        ("hnsw", "ef_construction", 0),
        ("ivf-flat", "nlist", 0),
        ("ivf-flat", "nlist", "8"),
        ("ivf-flat", "nlist", True),
        ("ivf-pq", "m", 0),
        ("ivf-pq", "nbits", 3),
        ("ivf-pq", "nbits", 13),
    ],
)
def test_a_build_parameter_out_of_range_or_of_another_type_is_refused(
    make: Make, name: str, parameter: str, value: object
) -> None:
    with pytest.raises(InputError, match=f"index '{name}': parameter '{parameter}' is {value!r}: "):
        make(name, **{parameter: value})


@pytest.mark.parametrize(
    ("name", "parameter"), [("faiss-hnsw", "ef"), ("hnsw", "ef"), ("ivf-pq", "nprobe")]
)
@pytest.mark.parametrize("value", [0, -1, 1.5, None])
def test_a_search_parameter_out_of_range_or_of_another_type_is_refused(
    make: Make, name: str, parameter: str, value: object, documents: Vectors
) -> None:
    index = make(name).build(documents)
    with pytest.raises(InputError, match=f"search: parameter '{parameter}' is {value!r}: "):
        index.search(documents[:1], 1, **{parameter: value})


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [2**31, -1, 1.5])
def test_a_seed_works_or_is_refused_by_name(
    make: Make, name: str, seed: object, documents: Vectors
) -> None:
    if name == "flat":
        pytest.skip("exact search draws nothing")
    message = refusal(lambda: make(name, seed=seed).build(documents))
    assert message is None or "seed" in message


def test_an_unknown_index_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InputError, match=r"unknown index 'hsnw'\. Did you mean 'hnsw'\? "):
        get_index("hsnw")


@pytest.mark.parametrize("name", ["ivf-flat", "ivf-pq"])
def test_more_lists_than_vectors_are_refused(make: Make, name: str, documents: Vectors) -> None:
    pattern = f"index '{name}': nlist is 701, but there are only 700 vectors"
    with pytest.raises(InputError, match=pattern):
        make(name, nlist=N + 1).build(documents)
    make(name, nlist=N).build(documents)


def test_an_m_that_does_not_divide_the_dimension_is_refused_naming_the_divisors(
    make: Make, documents: Vectors
) -> None:
    pattern = "m is 5, which does not divide the dimension 24: choose one of 1, 2, 3, 4, 6, 8, 12, "
    with pytest.raises(InputError, match=pattern + "24$"):
        make("ivf-pq", m=5).build(documents)


def test_fewer_vectors_than_quantiser_centroids_are_refused(make: Make, documents: Vectors) -> None:
    with pytest.raises(InputError, match=r"nbits is 10, .* 1024 vectors, .* only 700"):
        make("ivf-pq", nbits=10).build(documents)
    make("ivf-pq", nbits=9).build(documents)


def test_training_on_few_points_prints_nothing(
    make: Make, documents: Vectors, capfd: pytest.CaptureFixture[str]
) -> None:
    make("ivf-flat", nlist=100).build(documents)
    make("ivf-pq", nbits=8).build(documents)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


# -- settings travel with the call ------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", APPROXIMATE)
def test_search_settings_never_leak_into_another_call(
    make: Make, name: str, metric: Metric, documents: Vectors, queries: Vectors
) -> None:
    weak = {"M": 2, "ef_construction": 8} if name in GRAPHS else {}
    case = CASES[name]

    def alone(settings: dict[str, Any]) -> NDArray[Any]:
        index = make(name, metric=metric, **weak).build(documents)
        return index.bind(5, **settings)(index.prepare(queries))[0]

    narrow, wide = alone(case.narrow), alone(case.wide)
    assert not np.array_equal(narrow, wide), "the settings have no effect, so this shows nothing"
    index = make(name, metric=metric, **weak).build(documents)
    prepared = index.prepare(queries)
    first, second = index.bind(5, **case.narrow), index.bind(5, **case.wide)
    for _ in range(2):
        np.testing.assert_array_equal(first(prepared)[0], narrow)
        np.testing.assert_array_equal(second(prepared)[0], wide)
    # What comes last, and a call without settings, leave no trace either.
    index.search(queries, 5)
    np.testing.assert_array_equal(first(prepared)[0], narrow)
    np.testing.assert_array_equal(index.search(queries, 5, **case.narrow).ids, narrow)
    np.testing.assert_array_equal(index.search(queries, 5, **case.wide).ids, wide)


@pytest.mark.parametrize("name", APPROXIMATE)
def test_search_settings_do_not_mix_between_threads(
    make: Make, name: str, documents: Vectors, queries: Vectors
) -> None:
    weak = {"M": 2, "ef_construction": 8} if name in GRAPHS else {}
    index = make(name, metric="l2", **weak).build(documents)
    prepared = index.prepare(queries)
    calls = [index.bind(5, **CASES[name].narrow), index.bind(5, **CASES[name].wide)]
    expected = [call(prepared)[0] for call in calls]
    start = threading.Barrier(2)

    def repeat(which: int) -> bool:
        start.wait(timeout=10)
        return all(np.array_equal(calls[which](prepared)[0], expected[which]) for _ in range(100))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(repeat, [0, 1])) == [True, True]


@pytest.mark.parametrize("name", CASES)
def test_a_thread_limit_holds_inside_and_is_gone_after(
    make: Make,
    name: str,
    documents: Vectors,
    queries: Vectors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = make(name, threads=1)
    inside: list[set[int]] = []

    def watch(method: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **named: Any) -> Any:
            inside.append({pool["num_threads"] for pool in threadpool_info()})
            return method(*arguments, **named)

        return watched

    make(name).build(documents).search(queries, 3)  # the libraries are loaded, with their pools
    monkeypatch.setattr(index, "_build", watch(index._build))
    bind = index._bind
    monkeypatch.setattr(index, "_bind", lambda k, search: watch(bind(k, search)))
    with threadpool_limits(2):
        before = threadpool_info()
        assert {pool["num_threads"] for pool in before} != {1}
        index.build(documents)
        assert threadpool_info() == before
        index.search(queries, 3)
        assert threadpool_info() == before
        monkeypatch.setattr(index, "_bind", lambda *_: watch(lambda _: 1 / 0))
        with pytest.raises(ZeroDivisionError):
            index.search(queries, 4)  # not the search that is bound already
        assert threadpool_info() == before
    assert inside == [{1}] * 3


@pytest.mark.parametrize("name", CASES)
def test_fewer_than_one_thread_is_refused(make: Make, name: str, documents: Vectors) -> None:
    with pytest.raises(InputError, match="threads is 0: it must be at least 1"):
        make(name, threads=0).build(documents)


@pytest.mark.parametrize("name", APPROXIMATE)
def test_the_seed_decides_what_the_library_draws(
    make: Make, name: str, documents: Vectors, queries: Vectors
) -> None:
    weak = {"M": 2, "ef_construction": 8} if name in GRAPHS else {}
    found = [
        make(name, metric="l2", seed=seed, **weak)
        .build(documents)
        .search(queries, 10, **CASES[name].narrow)
        .ids
        for seed in (0, 1)
    ]
    assert not np.array_equal(*found)


# -- saving and loading -----------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_the_size_of_an_index_is_that_of_its_files(
    make: Make, name: str, documents: Vectors, tmp_path: Path
) -> None:
    index = make(name).build(documents)
    index.save(tmp_path)
    files = [path for path in tmp_path.iterdir() if path.name != "artefact.json"]
    assert index.size_bytes() == sum(path.stat().st_size for path in files)
    if name != "ivf-pq":
        assert index.size_bytes() >= documents.nbytes


@pytest.mark.parametrize("name", CASES)
def test_a_manifest_that_was_changed_is_refused(
    make: Make, name: str, documents: Vectors, tmp_path: Path
) -> None:
    index = make(name, metric="l2").build(documents)
    index.save(tmp_path)
    manifest = tmp_path / "artefact.json"
    text = manifest.read_text(encoding="utf-8")
    for old, new in (('"d": 24', '"d": 12'), ('"metric": "l2"', '"metric": "ip"')):
        assert text.count(old) == 1
        manifest.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(InputError):
            type(index).load(tmp_path)


def test_another_backends_folder_is_refused(make: Make, documents: Vectors, tmp_path: Path) -> None:
    make("flat").build(documents).save(tmp_path)
    for name in APPROXIMATE:
        with pytest.raises(InputError, match=f"holds a 'flat' index, not '{name}'"):
            INDEXES.load(name).load(tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_a_folder_without_an_index_is_refused(name: str, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match="no readable manifest"):
            INDEXES.load(name).load(folder)


# -- copies of one vector, and what a graph cannot reach ----------------------------------------


def test_hnswlib_with_unreachable_copies_returns_what_it_found(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Four copies of a vector that link to each other alone hide the rest from hnswlib, which
    # then raises instead of returning fewer than k.
    fallbacks = []
    one_by_one = hnsw_module._one_by_one

    def counted(*arguments: Any) -> Any:
        fallbacks.append(arguments)
        return one_by_one(*arguments)

    monkeypatch.setattr(hnsw_module, "_one_by_one", counted)
    rng = np.random.default_rng(0)
    vectors = np.vstack([np.ones((400, 4)), rng.normal(size=(5, 4))]).astype(np.float32)
    index = make("hnsw", metric="l2", M=2, ef_construction=10).build(vectors)
    hits = index.search(vectors[[0, 402]], 405, ef=405)
    if not fallbacks:
        pytest.skip("this version of hnswlib reaches all copies")
    assert_contract(hits, 2, 405, 405)
    assert (hits.found > 0).all()
    assert (hits.found < 405).all()
    found = hits.ids[0][: hits.found[0]]
    expected = true_scores(vectors, vectors[:1], found[None, :], "l2")
    np.testing.assert_allclose(hits.scores[0][: len(found)], expected[0], rtol=1e-5, atol=1e-6)


class Refusing:
    """Answers like hnswlib: all of k, or a RuntimeError for the whole batch."""

    def __init__(self, reachable: list[int]) -> None:
        self.reachable = reachable
        self.calls = 0

    def knn_query(
        self, queries: Vectors, k: int, **_: object
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
        self.calls += 1
        if any(k > self.reachable[int(query[0])] for query in queries):
            raise RuntimeError("Cannot return the results in a contiguous 2D array.")
        ranks = np.tile(np.arange(k), (len(queries), 1))
        return ranks.astype(np.uint64), ranks.astype(np.float32)


@pytest.mark.parametrize("k", [1, 2, 7, 8, 100])
def test_each_query_keeps_all_its_hits_when_another_has_fewer(k: int) -> None:
    reachable = [0, 1, 2, 6, 7, 8, 99, 100, 1000]
    asked = np.arange(len(reachable), dtype=np.float32)[:, None]
    index = Refusing(reachable)
    labels, distances = hnsw_module._one_by_one(index, asked, k, {})
    assert labels.shape == distances.shape == (len(reachable), k)
    for row, count in enumerate(reachable):
        count = min(count, k)  # noqa: PLW2901 (at most k are asked for)
        assert labels[row].tolist() == [*range(count)] + [-1] * (k - count)
        assert distances[row].tolist() == [*range(count)] + [np.inf] * (k - count)
    assert index.calls <= len(reachable) * (k.bit_length() + 1)


# -- notes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRAPHS)
def test_an_ef_below_k_is_noted_and_has_no_effect(
    make: Make, name: str, documents: Vectors, queries: Vectors
) -> None:
    index = make(name).build(documents)
    low, at_k = index.Search(ef=2), index.Search(ef=20)
    assert index.note(low, N, 20) == ("ef=2 is below k=20: the library searches with ef=20")
    assert index.note(at_k, N, 20) is None
    assert_equal_hits(index.search(queries, 20, ef=2), index.search(queries, 20, ef=20))


def test_training_on_few_points_is_noted() -> None:
    for name, few, enough in (("ivf-flat", 8 * 39 - 1, 8 * 39), ("ivf-pq", 16 * 39 - 1, 16 * 39)):
        index = get_index(name, **CASES[name].build)
        note = index.note(index.Search(), few, 10)
        assert note is not None
        assert note.startswith(f"{few} vectors train ")
        assert index.note(index.Search(), enough, 10) is None


@pytest.mark.parametrize(
    ("name", "options"),
    [("opq-ivf-pq", {"nlist": 2, "m": 4}), ("faiss", {"factory": "OPQ4_16,IVF2,PQ4"})],
)
def test_a_rotation_of_more_dimensions_than_vectors_is_refused(
    name: str, options: dict[str, Any]
) -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 320)).astype(np.float32)
    with pytest.raises(InputError, match="needs at least as many vectors to learn from"):
        get_index(name, **options).build(vectors)
