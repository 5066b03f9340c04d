"""Equal bytes: each way to keep vectors stores what it says, and a cut vector is what it says."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from retrieval_eval.errors import InputError
from retrieval_eval.indexes import Index, get_index
from retrieval_eval.indexes.equal_bytes import METHODS, compressed_indexes

BUDGETS = [4, 8, 16, 32, 48, 64, 128, 256]


def stored_bytes(index: Index) -> float:
    """Ask the library what a vector takes."""
    inner = getattr(index, "inner", None)
    if inner is not None:
        return stored_bytes(inner)
    library: Any = index._faiss  # type: ignore[attr-defined]
    return float(library.code_size if index.name == "binary" else library.sa_code_size())


@pytest.mark.parametrize("d", [72, 96])
def test_each_way_stores_the_bytes_it_says(d: int) -> None:
    vectors = np.random.default_rng(1).normal(size=(300, d)).astype(np.float32)
    found = compressed_indexes(d, BUDGETS, most={"opq": 4})
    assert {one.method for one in found} == METHODS.keys()
    for one in found:
        index = one.make(threads=1).build(vectors)
        assert stored_bytes(index) == one.bytes <= one.budget, one.label
        assert (index.search(vectors[:3], 5).found == 5).all()


@pytest.mark.parametrize("d", [8, 50, 256, 384, 768, 1536])
def test_bytes_fill_the_budget_and_entries_can_be_built(d: int) -> None:
    found = compressed_indexes(d, BUDGETS, depth=50)
    for one in found:
        assert 0.75 * one.budget <= one.bytes <= one.budget
        index = one.make()
        index.check(100_000, d)
        index.check_sweep(index.settings({}), 100_000, d)
        assert one.refined == (index.name == "refine")
        assert (index.settings({}).depth == 50) if one.refined else True
        settings = str(index.settings({}))
        assert bool(re.search(r"query_bits\W+8", settings)) == (one.method == "rabitq")
    alone = [one.label for one in found if not one.refined]
    assert [f"{label}, refined" for label in alone] == [one.label for one in found if one.refined]
    per_budget = [(one.method, one.budget, one.refined) for one in found]
    assert len(set(per_budget)) == len(per_budget)


def test_methods_and_their_budgets_can_be_chosen() -> None:
    found = compressed_indexes(64, [8, 16], methods=["opq", "pq"], most={"opq": 8})
    assert [one.label for one in found] == ["opq 8 B", "pq 8 B", "pq 16 B"]
    for given, rule in (
        ({"methods": ["pqq"]}, "Did you mean 'pq'"),
        ({"most": {"opqq": 3}}, "Did you mean 'opq'"),
        ({"budgets": [8, 0]}, "the budget is 0"),
        ({"d": 0}, "the dimension is 0"),
    ):
        with pytest.raises(InputError, match=rule):
            compressed_indexes(**{"d": 64, "budgets": [8], **given})  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_truncation_searches_the_first_dimensions(metric: Any) -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(200, 24)).astype(np.float32)
    vectors[7, :6] = 0  # nothing of it is left
    queries = rng.normal(size=(11, 24)).astype(np.float32)
    cut = get_index("project", d=6, method="truncate", index="flat", metric=metric, threads=1)
    hits = cut.build(vectors).search(queries, 10)
    expected = get_index("flat", metric=metric, threads=1).build(vectors[:, :6])
    found = expected.search(queries[:, :6], 10)
    np.testing.assert_array_equal(hits.ids, found.ids)
    np.testing.assert_allclose(hits.scores, found.scores, rtol=1e-5, atol=1e-5)
