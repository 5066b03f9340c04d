"""Repaired indexes: the contract, whose codes centroids belong to, and what is saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.indexes import Index, get_index
from retrieval_eval.indexes.repaired import ProductCodes, Repair, RepairedIndex
from retrieval_eval.testing import IndexConformance

Vectors = NDArray[np.float32]
D = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("repairs")


def unchanged(folder: Path, d: int) -> str:
    """Write a repair that changes nothing."""
    path = folder / f"{d}.npz"
    Repair(np.eye(d, dtype=np.float32)).save(path)
    return str(path)


class TestRepaired(IndexConformance):
    narrow: ClassVar[Any] = {"index": {"nprobe": 1}}
    wide: ClassVar[Any] = {"index": {"nprobe": 8}}
    folder: ClassVar[Path]

    @pytest.fixture(autouse=True)
    def place(self, folder: Path) -> None:
        type(self).folder = folder

    def parameters_for(self, d: int) -> dict[str, Any]:
        return {"file": unchanged(self.folder, d)}

    @pytest.fixture
    def make_index(self) -> Callable[..., Index]:
        given = {"index": {"ivf-flat": {"nlist": 8}}, "file": unchanged(self.folder, D)}
        return lambda **options: RepairedIndex(**{**given, **options})


@pytest.fixture(scope="module")
def documents() -> Vectors:
    return np.random.default_rng(1).normal(size=(400, D)).astype(np.float32)


@pytest.fixture(scope="module")
def queries() -> Vectors:
    return np.random.default_rng(2).normal(size=(9, D)).astype(np.float32)


@pytest.mark.parametrize("factory", ["PQ4x5", "PQ4x8", "OPQ4_16,PQ4x6", "PCA12,PQ3x9", "PQ3x12"])
def test_codes_and_centroids_give_the_scores_of_the_library(
    factory: str, documents: Vectors, queries: Vectors
) -> None:
    many = np.concatenate([documents, *(documents + shift for shift in range(1, 12))])
    used = many if "x12" in factory else many[:600]
    index = get_index("faiss", factory=factory, metric="ip", threads=1).build(used)
    codes = ProductCodes.of(index)
    m = len(codes.centroids)
    assert codes.codes.shape == (len(used), m)
    decoded = np.concatenate([codes.centroids[j][codes.codes[:, j]] for j in range(m)], axis=1)
    scores = (queries @ codes.rotation.T + codes.bias) @ decoded.T
    hits = index.search(queries, 50)
    np.testing.assert_allclose(
        hits.scores, np.take_along_axis(scores, hits.ids, 1), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", ["flat", "ivf-pq"])
def test_codes_of_other_indexes_are_refused(name: str, documents: Vectors) -> None:
    index = get_index(name, threads=1, **({"nlist": 2, "m": 4} if name == "ivf-pq" else {}))
    with pytest.raises(InputError, match="or for 'faiss' with a factory of linear maps before PQ"):
        ProductCodes.of(index.build(documents))


def test_a_map_is_put_on_queries_alone(documents: Vectors, queries: Vectors) -> None:
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(D, D)))
    flat = get_index("flat", threads=1).build(documents)
    repaired = RepairedIndex.around(flat, Repair(turn.astype(np.float32)))
    expected = flat.search(queries @ turn.T, 10)
    hits = repaired.search(queries, 10)
    np.testing.assert_array_equal(hits.ids, expected.ids)
    np.testing.assert_allclose(hits.scores, expected.scores, atol=1e-5)


def test_new_centroids_are_searched_saved_and_loaded(
    documents: Vectors, queries: Vectors, tmp_path: Path
) -> None:
    entry = {"faiss": {"factory": "OPQ4_24,PQ4x5"}}
    index = get_index("faiss", threads=1, metric="ip", **entry["faiss"]).build(documents)
    codes = ProductCodes.of(index)
    other = codes.centroids[::-1] * 2  # the centroids of each part to another
    repair = Repair(np.eye(D, dtype=np.float32), other.copy(), codes.digest, {"note": "é"})
    decoded = np.concatenate([other[j][codes.codes[:, j]] for j in range(4)], axis=1)
    expected = np.sort(queries @ codes.rotation.T @ decoded.T, axis=1)[:, ::-1][:, :10]
    before = index.search(queries, 10)
    around = RepairedIndex.around(index, repair)
    np.testing.assert_array_equal(index.search(queries, 10).scores, before.scores)

    repair.save(tmp_path / "repair.npz")
    again = Repair.load(tmp_path / "repair.npz")
    assert (again.digest, again.facts) == (repair.digest, {"note": "é"})
    file = str(tmp_path / "repair.npz")
    built = RepairedIndex(index=entry, file=file, metric="ip", threads=1).build(documents)
    built.save(tmp_path / "saved")
    (tmp_path / "repair.npz").unlink()
    loaded = RepairedIndex.load(tmp_path / "saved", threads=1)
    for one in (around, built, loaded):
        hits = one.search(queries, 10)
        np.testing.assert_allclose(hits.scores, expected, rtol=1e-4, atol=1e-4)
        assert one.identity()["repair"] == repair.digest
    assert built.size_bytes() > built.inner.size_bytes()


def test_centroids_are_refused_by_other_codes_and_maps_by_other_dimensions(
    documents: Vectors, tmp_path: Path
) -> None:
    entry = {"pq": {"m": 4, "nbits": 5}}
    index = get_index("pq", threads=1, **entry["pq"]).build(documents)
    codes = ProductCodes.of(index)
    identity = np.eye(D, dtype=np.float32)
    Repair(identity, codes.centroids, codes.digest).save(tmp_path / "pq.npz")
    Repair(np.eye(3, dtype=np.float32)).save(tmp_path / "three.npz")
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    for options, rule in (
        ({"file": str(tmp_path / "pq.npz"), "seed": 5}, "learnt for other codes"),
        ({"file": str(tmp_path / "pq.npz"), "index": "flat"}, "centroids can be learnt for"),
        ({"file": str(tmp_path / "three.npz")}, r"it must be \(24, 24\)"),
        ({"file": str(tmp_path / "none.npz")}, "there is no such file"),
        ({"file": str(tmp_path / "text.npz")}, "is no file of a repair"),
        ({"file": str(tmp_path / "other.npz")}, "is no file of a repair"),
        ({}, "names no file"),
        ({"metric": "l2"}, "metric is 'l2'"),
    ):
        with pytest.raises(InputError, match=rule):
            RepairedIndex(**{"index": entry, "threads": 1, **options}).build(documents)
    half = Repair(identity, codes.centroids[:2], codes.digest)
    with pytest.raises(InputError, match="do not fit"):
        RepairedIndex.around(index, half)
    with pytest.raises(InputError, match="names no file"):
        RepairedIndex(index=entry).check_sweep(RepairedIndex(index=entry).settings({}), 400, D)
