"""Every built-in backend that needs no server passes the suite that plug-ins inherit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from retrieval_eval.indexes import Index, get_index
from retrieval_eval.testing import IndexConformance

N = 600  # documents of the suite's made vectors
Make = Callable[..., Index]


def sub_vectors(d: int) -> int:
    """Return how many sub-vectors real vectors of dimension d are cut into: a divisor of d."""
    return d // 2 if d < 100 else d // 8


def maker(name: str, **parameters: Any) -> Make:
    return lambda **options: get_index(name, **{**parameters, **options})


class TestFlat(IndexConformance):
    @pytest.fixture
    def make_index(self) -> Make:
        return maker("flat")


class TestFaissHnsw(IndexConformance):
    narrow, wide, recall = {"ef": 5}, {"ef": 4000}, 0.98  # inner products leave some unreachable

    @pytest.fixture
    def make_index(self) -> Make:
        return maker("faiss-hnsw", M=32)


class TestHnsw(IndexConformance):
    narrow, wide, recall = {"ef": 5}, {"ef": 4000}, 0.98  # inner products leave some unreachable

    @pytest.fixture
    def make_index(self) -> Make:
        pytest.importorskip("hnswlib", reason="hnswlib is not installed: extra 'hnsw'")
        return maker("hnsw", M=32)


class TestIvfFlat(IndexConformance):
    narrow, wide = {"nprobe": 1}, {"nprobe": 8}

    @pytest.fixture
    def make_index(self) -> Make:
        return maker("ivf-flat", nlist=8)


class TestIvfPq(IndexConformance):
    narrow, wide, lossless, recall = {"nprobe": 1}, {"nprobe": 8}, False, 0.5

    def parameters_for(self, d: int) -> dict[str, Any]:
        return {"m": sub_vectors(d), "nbits": 6}

    @pytest.fixture
    def make_index(self) -> Make:
        return maker("ivf-pq", nlist=8, m=12, nbits=6)


class TestOpqIvfPq(TestIvfPq):
    recall, real_documents = 0.4, 500  # learning the rotation takes seconds

    def parameters_for(self, d: int) -> dict[str, Any]:
        return {"m": 10, "nbits": 6}

    @pytest.fixture
    def make_index(self) -> Make:
        return maker("opq-ivf-pq", nlist=8, m=12, nbits=6)


class TestPq(IndexConformance):
    lossless, recall = False, 0.5

    def parameters_for(self, d: int) -> dict[str, Any]:
        return {"m": sub_vectors(d), "nbits": 6}

    @pytest.fixture
    def make_index(self) -> Make:
        return maker("pq", m=12, nbits=6)


class TestSq8(IndexConformance):
    tolerance, recall = 0.02, 0.9

    @pytest.fixture
    def make_index(self) -> Make:
        return maker("sq8")


class TestFp16(IndexConformance):
    tolerance, recall = 1e-3, 0.98

    @pytest.fixture
    def make_index(self) -> Make:
        return maker("fp16")


class TestRabitq(IndexConformance):
    narrow, wide, lossless, recall = {"nprobe": 1}, {"nprobe": 8}, False, 0.35

    @pytest.fixture
    def make_index(self) -> Make:
        return maker("rabitq", nlist=8)


class TestRabitqOfFourBitsWithoutLists(IndexConformance):
    narrow, wide, lossless, recall = {"query_bits": 1}, {"query_bits": 0}, False, 0.8

    @pytest.fixture
    def make_index(self) -> Make:
        return maker("rabitq", bits=4)


class TestBinary(IndexConformance):
    narrow, wide, lossless, recall = {"oversample": 1}, {"oversample": 100}, False, 0.15

    @pytest.fixture
    def make_index(self) -> Make:
        return maker("binary")


class TestFaissFactory(IndexConformance):
    narrow, wide, recall = {"nprobe": 1, "k_factor": 1.0}, {"nprobe": 8, "k_factor": 40.0}, 1.0

    @pytest.fixture
    def make_index(self) -> Make:
        return maker("faiss", factory="PCA16,IVF8,SQ8,RFlat")


class TestFaissFactoryWithoutFilters(IndexConformance):
    lossless, recall = False, 0.5

    def parameters_for(self, d: int) -> dict[str, Any]:
        return {"factory": f"PQ{sub_vectors(d)}x6"}

    @pytest.fixture
    def make_index(self) -> Make:
        return maker("faiss", factory="PQ12x6")


class TestRefine(IndexConformance):
    narrow: ClassVar[Any] = {"depth": 10, "index": {"nprobe": 1}}
    wide: ClassVar[Any] = {"depth": 4000, "index": {"nprobe": 8}}

    def parameters_for(self, d: int) -> dict[str, Any]:
        return {"index": {"ivf-pq": {"nlist": 8, "m": sub_vectors(d), "nbits": 4}}}

    @pytest.fixture
    def make_index(self) -> Make:
        return maker("refine", index={"ivf-pq": {"nlist": 8, "m": 12, "nbits": 4}})


class TestRefineOfAnIndexWithoutFilters(IndexConformance):
    narrow, wide = {"depth": 10}, {"depth": 4000}

    def parameters_for(self, d: int) -> dict[str, Any]:
        return {"index": {"pq": {"m": sub_vectors(d), "nbits": 4}}}

    @pytest.fixture
    def make_index(self) -> Make:
        return maker("refine", index={"pq": {"m": 12, "nbits": 4}})


class TestProject(IndexConformance):
    narrow, wide = {"index": {"nprobe": 1}}, {"index": {"nprobe": 8}}
    lossless, recall = False, 0.6

    def parameters_for(self, d: int) -> dict[str, Any]:
        return {"d": 3 * d // 4}

    @pytest.fixture
    def make_index(self) -> Make:
        return maker("project", index={"ivf-flat": {"nlist": 8}}, d=12)


class TestSharded(IndexConformance):
    narrow, wide = {"index": {"nprobe": 1}}, {"index": {"nprobe": 5}}

    @pytest.fixture
    def make_index(self) -> Make:
        return maker("sharded", index={"ivf-flat": {"nlist": 5}}, shards=3)


class TestInsertionOrder(IndexConformance):
    narrow, wide, recall = {"index": {"ef": 5}}, {"index": {"ef": 4000}}, 0.98

    @pytest.fixture
    def make_index(self) -> Make:
        return maker("insertion-order", index={"faiss-hnsw": {"M": 32}})


class TestCombinatorsAroundEachOther(IndexConformance):
    narrow: ClassVar[Any] = {"depth": 10, "index": {"index": {"index": {"query_bits": 1}}}}
    wide: ClassVar[Any] = {"depth": 4000, "index": {"index": {"index": {"query_bits": 0}}}}

    @pytest.fixture
    def make_index(self) -> Make:
        inner = {"project": {"d": 12, "index": {"rabitq": {"bits": 2}}}}
        return maker("refine", index={"sharded": {"shards": 2, "index": inner}})
