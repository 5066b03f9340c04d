"""Datasets of vectors and true neighbours: ann-benchmarks' HDF5, big-ann-benchmarks' files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval_eval.datasets.ann_benchmarks import AnnBenchmarks
from retrieval_eval.datasets.base import Dataset
from retrieval_eval.datasets.big_ann import BigAnn
from retrieval_eval.encoders import get_encoder
from retrieval_eval.errors import InputError, MissingExtraError
from retrieval_eval.neighbours import exact_neighbours
from retrieval_eval.pipeline.embedding import embed
from retrieval_eval.store import Store

K = 20
DOCUMENTS = np.random.default_rng(1).normal(size=(300, 8)).astype(np.float32)
QUERIES = np.random.default_rng(2).normal(size=(25, 8)).astype(np.float32)


def nearest(documents: NDArray[Any], queries: NDArray[Any]) -> NDArray[np.int64]:
    differences = queries[:, None].astype(np.float64) - documents[None]
    return np.argsort((differences**2).sum(axis=2), axis=1)[:, :K]


ROWS = nearest(DOCUMENTS, QUERIES)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def big_ann(tmp_path: Path) -> dict[str, str]:
    """Return parameters that name three files as big-ann-benchmarks has them."""
    for name, vectors in (("base.300.fbin", DOCUMENTS), ("query.25.fbin", QUERIES)):
        head = struct.pack("<II", *vectors.shape)
        (tmp_path / name).write_bytes(head + vectors.tobytes())
    write_neighbours(tmp_path / "groundtruth.bin", ROWS)
    return {
        "documents": str(tmp_path / "base.300.fbin"),
        "queries": str(tmp_path / "query.25.fbin"),
        "neighbours": str(tmp_path / "groundtruth.bin"),
        "metric": "l2",
    }


def write_neighbours(path: Path, rows: NDArray[np.int64]) -> None:
    distances = np.zeros(rows.shape, dtype="<f4")
    head = struct.pack("<II", *rows.shape)
    path.write_bytes(head + rows.astype("<u4").tobytes() + distances.tobytes())


def write_hdf5(path: Path, distance: str | None = "euclidean", **replaced: Any) -> Path:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: it comes with 'hdf5'")
    with h5py.File(path, "w") as file:
        if distance is not None:
            file.attrs["distance"] = distance
        arrays = {"train": DOCUMENTS, "test": QUERIES, "neighbors": ROWS.astype(np.int32)}
        for name, array in {**arrays, "distances": np.zeros(ROWS.shape), **replaced}.items():
            if array is not None:
                file[name] = array
    return path


def check(dataset: Dataset, relevant: int, queries: int = 25) -> None:
    assert dataset.vectors is not None
    assert dataset.vectors.metric == "l2"
    assert dataset.document_ids == [str(row) for row in range(300)]
    assert dataset.query_ids == tuple(str(row) for row in range(queries))
    assert set(dataset.documents) == {""}
    np.testing.assert_array_equal(dataset.vectors.documents.read(0, 300), DOCUMENTS)
    assert dataset.vectors.queries.n == queries
    np.testing.assert_array_equal(dataset.vectors.queries.read(0, queries), QUERIES[:queries])
    expected = {
        str(query): {str(row): 1 for row in ROWS[query, :relevant]} for query in range(queries)
    }
    assert expected == dataset.qrels.mapping
    assert len(dataset.qrels) == len(dataset.qrels.document) == relevant * queries


def test_ann_benchmarks_is_read_as_it_is(tmp_path: Path, store: Store) -> None:
    path = str(write_hdf5(tmp_path / "v.hdf5"))
    dataset = AnnBenchmarks(path=path).load("v", store)
    check(dataset, 10)
    assert dataset.summary()["distance"] == "euclidean"
    assert dataset.summary()["queries_left_out"] == 0


def test_big_ann_is_read_as_it_is(big_ann: dict[str, str], store: Store) -> None:
    dataset = BigAnn(**big_ann).load("v", store)
    check(dataset, 10)
    assert (dataset.facts["relevant"], dataset.facts["neighbours"]) == (10, K)


@pytest.mark.parametrize(("relevant", "queries"), [(1, 25), (K, 25), (5, 3), (10, 1)])
def test_relevant_and_max_queries_choose(
    big_ann: dict[str, str], store: Store, relevant: int, queries: int
) -> None:
    dataset = BigAnn(**big_ann, relevant=relevant, max_queries=queries).load("v", store)
    check(dataset, relevant, queries)
    assert dataset.facts["queries_left_out"] == 25 - queries
    whole = BigAnn(**big_ann).load("v", store)
    assert dataset.corpus_fingerprint == whole.corpus_fingerprint
    assert (dataset.queries_fingerprint == whole.queries_fingerprint) == (queries == 25)
    assert dataset.vectors is not None
    assert whole.vectors is not None
    assert (dataset.vectors.queries_key == whole.vectors.queries_key) == (queries == 25)
    more = BigAnn(**big_ann, max_queries=1000).load("v", store)
    assert more.queries_fingerprint == whole.queries_fingerprint


def test_both_sources_agree_and_exact_search_finds_every_judged_document(
    tmp_path: Path, big_ann: dict[str, str], store: Store
) -> None:
    datasets = [BigAnn(**big_ann).load("a", store)]
    datasets.append(AnnBenchmarks(path=str(write_hdf5(tmp_path / "v.h5"))).load("b", store))
    assert datasets[0].qrels.fingerprint == datasets[1].qrels.fingerprint
    for dataset in datasets:
        found = embed(store, dataset, get_encoder("precomputed"))
        np.testing.assert_array_equal(found.documents, DOCUMENTS)
        ids, _ = exact_neighbours(found.documents, found.queries, k=10, metric="l2")
        np.testing.assert_array_equal(ids, ROWS[:, :10])


def test_real_vectors_with_true_neighbours_are_a_dataset(collections: Path, store: Store) -> None:
    folder = collections / "vectors" / "digits-64"
    dataset = BigAnn(
        documents=str(folder / "base.npy"),
        queries=str(folder / "queries.npy"),
        neighbours=str(folder / "gt_l2.npy"),
        metric="l2",
    ).load("digits", store)
    found = embed(store, dataset, get_encoder("precomputed"))
    ids, _ = exact_neighbours(found.documents, found.queries, k=10, metric="l2")
    for query, rows in zip(dataset.query_ids, ids.tolist(), strict=True):
        assert set(dataset.qrels.mapping[query]) == set(map(str, rows))


@pytest.mark.parametrize(
    ("stated", "given", "metric"),
    [
        ("angular", None, "cosine"),
        ("euclidean", "l2", "l2"),
        ("dot", None, "ip"),
        (None, "cosine", "cosine"),
    ],
)
def test_the_metric_is_that_of_the_file(
    tmp_path: Path, store: Store, stated: str | None, given: Any, metric: str
) -> None:
    path = str(write_hdf5(tmp_path / "v.h5", stated))
    dataset = AnnBenchmarks(path=path, metric=given).load("v", store)
    assert dataset.vectors is not None
    assert dataset.vectors.metric == metric


@pytest.mark.parametrize(
    ("stated", "given", "message"),
    [
        ("jaccard", None, "nearest by 'jaccard', which is no metric here; known are angular, "),
        ("angular", "l2", "nearest by 'angular', which is 'cosine' here, but metric is 'l2'"),
        (None, None, "has no attribute 'distance', .*: set metric to cosine, ip or l2"),
    ],
)
def test_a_metric_that_is_unknown_or_another_is_refused(
    tmp_path: Path, store: Store, stated: str | None, given: Any, message: str
) -> None:
    path = str(write_hdf5(tmp_path / "v.h5", stated))
    with pytest.raises(InputError, match=rf"v\.h5: .*{message}"):
        AnnBenchmarks(path=path, metric=given).load("v", store)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"neighbors": None}, "unknown dataset 'neighbors'"),
        ({"test": QUERIES[:, :4]}, "#test: dimension 4, but .*#train has 8"),
        ({"test": QUERIES[:20]}, "neighbours of 25 queries, but .*#test has 20 vectors"),
        ({"train": DOCUMENTS[:100]}, r"query 0 \(counted from 0\) has the neighbour \d+ at rank"),
        (
            {"neighbors": ROWS[:, :9], "distances": None},
            "9 neighbours of each query, but relevant is 10: set",
        ),
        ({"neighbors": np.where(ROWS[3, 4] == ROWS, -1, ROWS)}, "query .* has only . neighbours"),
        ({"neighbors": np.repeat(ROWS[:, :10], 2, axis=1)}, "query 0 .* twice: the file is dam"),
        ({"neighbors": ROWS.astype(np.float32)}, r"expected row numbers of shape \(q, k\)"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
    tmp_path: Path, store: Store, replaced: dict[str, Any], message: str
) -> None:
    path = write_hdf5(tmp_path / "v.h5", **replaced)
    with pytest.raises(InputError, match=rf"v\.h5.*{message}"):
        AnnBenchmarks(path=str(path)).load("v", store)


def test_other_vectors_have_other_keys(big_ann: dict[str, str], store: Store) -> None:
    before = BigAnn(**big_ann).load("v", store)
    path = Path(big_ann["documents"])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    after = BigAnn(**big_ann).load("v", store)
    assert after.corpus_fingerprint != before.corpus_fingerprint
    assert after.queries_fingerprint == before.queries_fingerprint


def test_the_metric_of_three_files_must_be_given(big_ann: dict[str, str]) -> None:
    del big_ann["metric"]
    with pytest.raises(InputError, match="dataset 'big-ann': parameter 'metric' is required"):
        BigAnn(**big_ann)


def test_a_missing_library_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from importlib import util

    find_spec = util.find_spec
    monkeypatch.setattr(
        util, "find_spec", lambda name, *_: None if name == "h5py" else find_spec(name)
    )
    vectors = {"documents": "v.h5#a", "queries": "v.h5#b", "neighbours": "n.ivecs"}
    for source in (AnnBenchmarks(path="v.h5"), BigAnn(**vectors, metric="l2")):
        with pytest.raises(MissingExtraError, match=r"pip install 'ann-retrieval-eval\[hdf5\]'"):
            source.require()
