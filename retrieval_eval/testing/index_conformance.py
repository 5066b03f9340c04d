"""What every index promises, as a suite of tests that a backend inherits with one fixture."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

from retrieval_eval.errors import InputError, RetrievalEvalError
from retrieval_eval.filters import Filter
from retrieval_eval.hits import Hits
from retrieval_eval.indexes import Index
from retrieval_eval.neighbours import METRICS, Metric, exact_neighbours, true_scores
from retrieval_eval.testing.vectors import Sample, collections_folder, made_sample, real_sample

__all__ = ["IndexConformance"]

Make = Callable[..., Index]
Built = Callable[[Metric], Index]
Settings = dict[str, Any]

_sample = cache(made_sample)
_real_sample = cache(real_sample)
every_metric = pytest.mark.parametrize("metric", METRICS)


def _construct(make_index: Make, options: dict[str, Any]) -> Index:
    metric = options.get("metric")
    try:
        return make_index(**{"threads": 1, **options})
    except InputError:
        probe = make_index(threads=1) if metric not in (None, "cosine") else None
        if probe is not None and metric in METRICS and metric not in probe.metrics:
            pytest.skip(f"{probe.name} does not serve {metric}")
        raise


def assert_contract(hits: Hits, n_queries: int, k: int, n: int) -> None:
    """Check what holds for the hits of any search."""
    assert hits.ids.shape == hits.scores.shape == (n_queries, k)
    assert hits.ids.dtype == np.int64
    assert hits.scores.dtype == np.float32
    assert hits.ids.min(initial=0) >= -1
    assert hits.ids.max(initial=-1) < n
    assert not np.isnan(hits.scores).any()
    np.testing.assert_array_equal(hits.ids == -1, np.isneginf(hits.scores))
    for ids, scores in zip(hits.ids, hits.scores, strict=True):
        found = ids[ids >= 0]
        assert len(set(found.tolist())) == len(found), "a document is listed twice"
        assert (ids[: len(found)] == found).all(), "padding comes last"
        assert (np.diff(scores[: len(found)]) <= 0).all(), "the best come first"


def assert_equal_hits(first: Hits, second: Hits) -> None:
    """Check that two searches found the same."""
    np.testing.assert_array_equal(first.ids, second.ids)
    np.testing.assert_array_equal(first.scores, second.scores)


def share_found(hits: Hits, true: NDArray[np.float64], sample: Sample, metric: Metric) -> float:
    """Return the share of hits whose true score reaches the worst of `true`, row by row."""
    scores = true_scores(sample.documents, sample.queries, hits.ids, metric)
    worst = true[:, -1:]
    return float((scores >= worst - 1e-5 * np.maximum(1.0, np.abs(worst))).mean())


class IndexConformance:
    """Tests that any index must pass; inherit them and supply the fixture ``make_index``.

    The fixture returns a function that constructs an unbuilt index and hands its keyword arguments
    (``metric``, ``seed``, ``threads``, build parameters) on. Tests that only search share what it
    built, so it must not depend on a folder of one test. It may skip where a library or a
    server is missing. Real vectors are used too where the environment variable
    ``RETRIEVAL_EVAL_COLLECTIONS`` names a folder that has them.

    Attributes
    ----------
    narrow, wide : dict
        Search settings that visit as little and as much as possible. Where the index has search
        settings, the two must differ in effect.
    lossless : bool
        Whether scores are the true ones, up to rounding.
    recall : float
        Share of the true neighbours that the settings `wide` must find, from 0 to 1.
    repeatable : bool
        Whether one thread and one seed give the same index every time.
    real_documents : int
        How many real vectors to use; fewer for an index that is slow to build.
    tolerance : float
        Relative difference to the true scores that storage explains, for a lossless index.

    Examples
    --------
    >>> import pytest
    >>> from retrieval_eval import get_index
    >>> class TestFlat(IndexConformance):
    ...     @pytest.fixture
    ...     def make_index(self):
    ...         return lambda **options: get_index("flat", **options)
    """

    narrow: ClassVar[Settings] = {}
    wide: ClassVar[Settings] = {}
    lossless: ClassVar[bool] = True
    recall: ClassVar[float] = 1.0
    repeatable: ClassVar[bool] = True
    real_documents: ClassVar[int] = 1200
    tolerance: ClassVar[float] = 2e-5
    _shared: ClassVar[dict[Metric, Index]] = {}

    @pytest.fixture
    def make_index(self) -> Make:
        """Return a function that constructs the index; a subclass supplies it."""
        pytest.fail("a subclass of IndexConformance must define the fixture make_index")

    def parameters_for(self, d: int) -> Settings:
        """Return build parameters that real vectors of dimension d need, such as a divisor of d."""
        return {}

    @pytest.fixture
    def make(self, make_index: Make) -> Iterator[Make]:
        """Construct with one thread, skip a metric that is not served, and close in the end."""
        opened: list[Index] = []

        def construct(**options: Any) -> Index:
            opened.append(_construct(make_index, options))
            return opened[-1]

        yield construct
        for index in opened:
            index.close()

    @classmethod
    def setup_class(cls) -> None:
        cls._shared = {}

    @classmethod
    def teardown_class(cls) -> None:
        for index in cls._shared.values():
            index.close()

    @pytest.fixture
    def built(self, make_index: Make) -> Built:
        """Return an index of the made vectors, with attributes, for tests that only search."""
        shared = self._shared

        def find(metric: Metric) -> Index:
            if metric not in shared:
                documents = _sample(metric).documents
                index = _construct(make_index, {"metric": metric})
                shared[metric] = index.build(documents, attributes=self._attributes(len(documents)))
            return shared[metric]

        return find

    # -- hits ----------------------------------------------------------------------------------

    @every_metric
    def test_hits_keep_the_contract(self, built: Built, metric: Metric) -> None:
        sample, index = _sample(metric), built(metric)
        for settings in (self.narrow, self.wide, {}):
            hits = index.search(sample.queries, 10, **settings)
            assert_contract(hits, len(sample.queries), 10, len(sample.documents))
            assert hits.found.min() > 0
        assert index.build_s is not None
        assert index.train_s is None or 0 <= index.train_s <= index.build_s
        assert index.served_by(10, **self.wide)
        assert index.filtering in ("native", "pre", "post")

    @every_metric
    def test_the_true_neighbours_are_found(self, built: Built, metric: Metric) -> None:
        sample, index = _sample(metric), built(metric)
        hits = index.search(sample.queries, 10, **self.wide)
        assert share_found(hits, sample.scores[:, :10], sample, metric) >= self.recall

    @every_metric
    def test_scores_follow_the_true_ones(self, built: Built, metric: Metric) -> None:
        sample, index = _sample(metric), built(metric)
        hits = index.search(sample.queries, len(sample.documents), **self.wide)
        true = true_scores(sample.documents, sample.queries, hits.ids, metric)
        found = hits.ids >= 0
        if self.lossless:
            scale = np.abs(true[found]).max()
            np.testing.assert_allclose(
                hits.scores[found], true[found], rtol=self.tolerance, atol=self.tolerance * scale
            )
        else:
            assert np.corrcoef(hits.scores[found], true[found])[0, 1] > 0.5

    @every_metric
    @pytest.mark.parametrize("name", ["digits-64", "glove-100k-50", "scifact-minilm"])
    def test_real_vectors_and_their_neighbours(self, make: Make, metric: Metric, name: str) -> None:
        folder = collections_folder()
        if folder is None:
            pytest.skip("RETRIEVAL_EVAL_COLLECTIONS is not set: there are no real vectors here")
        sample = _real_sample(folder, name, metric, self.real_documents, 20)
        if sample is None:
            pytest.skip(f"{name} has no true neighbours for {metric}")
        parameters = self.parameters_for(sample.documents.shape[1])
        index = make(metric=metric, **parameters).build(sample.documents)
        hits = index.search(sample.queries, 10, **self.wide)
        assert_contract(hits, len(sample.queries), 10, len(sample.documents))
        assert share_found(hits, sample.scores[:, :10], sample, metric) >= 0.9 * self.recall

    @every_metric
    def test_k_beyond_the_number_of_documents_pads(self, make: Make, metric: Metric) -> None:
        sample = _sample(metric)
        documents = sample.documents[:300]
        hits = make(metric=metric).build(documents).search(sample.queries, 320, **self.wide)
        assert_contract(hits, len(sample.queries), 320, 300)
        assert hits.found.max() <= 300
        if self.recall == 1.0:
            assert hits.found.tolist() == [300] * len(sample.queries)

    def test_no_queries_give_no_hits(self, built: Built) -> None:
        documents = _sample("cosine").documents
        hits = built("cosine").search(documents[:0], 3)
        assert_contract(hits, 0, 3, len(documents))

    @every_metric
    def test_a_single_document_is_found_or_refused(self, make: Make, metric: Metric) -> None:
        vectors = np.full((1, 24), 0.5, dtype=np.float32)
        index = make(metric=metric)
        try:
            index.build(vectors)
        except InputError as error:  # what has to be trained may need more
            assert str(error).startswith("index '")
            return
        assert index.search(vectors, 2).ids.tolist() == [[0, -1]]

    @every_metric
    def test_copies_of_one_vector_are_each_found_once(self, make: Make, metric: Metric) -> None:
        rng = np.random.default_rng(5)
        vectors = np.repeat(rng.normal(size=(30, 24)), 20, axis=0).astype(np.float32)
        hits = make(metric=metric).build(vectors).search(vectors[::200], 40, **self.wide)
        assert_contract(hits, 3, 40, len(vectors))
        assert hits.found.min() > 0

    @every_metric
    def test_zero_vectors_have_a_defined_outcome(self, make: Make, metric: Metric) -> None:
        sample = _sample(metric)
        documents, queries = sample.documents.copy(), sample.queries.copy()
        documents[[0, 30]] = 0
        queries[[1, 4]] = 0
        hits = make(metric=metric).build(documents).search(queries, 6, **self.wide)
        assert_contract(hits, len(queries), 6, len(documents))
        empty = [1, 4] if metric == "cosine" else []
        assert np.flatnonzero(hits.found == 0).tolist() == empty

    # -- inputs --------------------------------------------------------------------------------

    @every_metric
    def test_inputs_are_never_changed_nor_followed(self, make: Make, metric: Metric) -> None:
        sample = _sample(metric)
        documents, queries = sample.documents.copy(), sample.queries.copy()
        queries.flags.writeable = False
        index = make(metric=metric).build(documents)
        np.testing.assert_array_equal(documents, sample.documents)
        before = index.search(queries, 5, **self.wide)
        documents[:] = 0
        assert_equal_hits(index.search(queries, 5, **self.wide), before)

    def test_float64_and_strided_input_give_the_same_hits(self, make: Make) -> None:
        if not self.repeatable:
            pytest.skip("two builds of this index differ")
        sample = _sample("cosine")
        expected = make().build(sample.documents).search(sample.queries, 5, **self.wide)
        index = make().build(np.asfortranarray(sample.documents.astype(np.float64)))
        strided = np.repeat(sample.queries.astype(np.float64), 2, axis=0)[::2]
        assert_equal_hits(index.search(strided, 5, **self.wide), expected)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_nan_and_infinity_are_refused_naming_the_row(self, make: Make, value: float) -> None:
        sample = _sample("cosine")
        documents, queries = sample.documents.copy(), sample.queries.copy()
        documents[17, 3] = queries[2, 5] = value
        with pytest.raises(InputError, match="row 17 of the vectors holds NaN or infinity"):
            make().build(documents)
        index = make().build(sample.documents)
        with pytest.raises(InputError, match="row 2 of the queries holds NaN or infinity"):
            index.search(queries, 3)

    def test_what_cannot_work_is_refused(self, make: Make, tmp_path: Path) -> None:
        documents = _sample("cosine").documents
        index = make()
        for refused, rule in (
            (lambda: index.search(documents[:1], 3), "build or load it before searching"),
            (lambda: index.save(tmp_path / "index"), "build or load it before saving"),
            (lambda: index.build(documents[:0]), "there are no vectors"),
            (lambda: index.build(documents[0]), "vectors must have shape"),
            (lambda: make(no_such_parameter=1), "unknown parameter 'no_such_parameter'"),
            (lambda: make(metric="dot"), "metric is 'dot'"),
        ):
            with pytest.raises(InputError, match=rule):
                refused()
        index.build(documents)
        half: Any = 2.5
        for refused, rule in (
            (lambda: index.search(documents[:1, :-1], 3), "queries have dimension 23"),
            (lambda: index.search(documents[:1], 0), "k is 0"),
            (lambda: index.search(documents[:1], half), "k is 2.5"),
            (lambda: index.search(documents[:1].astype(str), 1), "queries must be numbers"),
            (lambda: index.search(documents[:1], 1, no_such=1), "unknown parameter 'no_such'"),
        ):
            with pytest.raises(InputError, match=rule):
                refused()

    # -- settings, threads, seeds --------------------------------------------------------------

    def test_search_settings_never_leak_into_another_call(self, built: Built) -> None:
        if self.narrow == self.wide:
            pytest.skip("the index has no search settings")
        sample, index = _sample("cosine"), built("cosine")
        narrow = index.search(sample.queries, 5, **self.narrow)
        wide = index.search(sample.queries, 5, **self.wide)
        default = index.search(sample.queries, 5)
        for settings, expected in (
            (self.wide, wide),
            (self.narrow, narrow),
            ({}, default),
            (self.wide, wide),
        ):
            assert_equal_hits(index.search(sample.queries, 5, **settings), expected)
            bound = index.bind(5, **settings)(index.prepare(sample.queries))
            np.testing.assert_array_equal(bound[0], expected.ids)

    @pytest.mark.parametrize("threads", [1, 2])
    def test_threads_are_restored_after_each_call(self, make: Make, threads: int) -> None:
        sample = _sample("cosine")
        index = make(threads=threads).build(sample.documents)
        before = threadpool_info()
        index.build(sample.documents)
        hits = index.search(sample.queries, 10, **self.wide)
        assert threadpool_info() == before
        assert_contract(hits, len(sample.queries), 10, len(sample.documents))
        assert share_found(hits, sample.scores[:, :10], sample, "cosine") >= 0.9 * self.recall

    def test_one_thread_and_one_seed_give_the_same_index(self, make: Make) -> None:
        if not self.repeatable:
            pytest.skip("the library draws without a seed")
        sample = _sample("cosine")
        found = [
            make(seed=3).build(sample.documents).search(sample.queries, 10, **self.narrow)
            for _ in range(2)
        ]
        assert_equal_hits(*found)

    # -- filters -------------------------------------------------------------------------------

    @staticmethod
    def _attributes(n: int) -> dict[str, list[Any]]:
        rows = range(n)
        return {
            "language": [("de", "en", "fr")[row % 3] for row in rows],
            "year": [1990 + row % 30 for row in rows],
            "score": [row / n for row in rows],
            "free": [None if row % 5 == 0 else row % 2 == 0 for row in rows],
        }

    @every_metric
    @pytest.mark.parametrize(
        "wanted",
        [
            {"language": "de"},
            {"year": {"min": 2000, "max": 2004}},
            {"language": ["de", "fr"], "score": {"max": 0.5}},
            {"free": True},
            {"year": 1995, "language": "fr"},
        ],
        ids=str,
    )
    def test_a_filter_lets_only_matching_documents_pass(
        self, built: Built, metric: Metric, wanted: dict[str, Any]
    ) -> None:
        sample, index = _sample(metric), built(metric)
        n = len(sample.documents)
        where = Filter.parse(wanted)
        assert index.attributes is not None
        mask = where.mask(index.attributes)
        assert 0 < mask.sum() < n
        hits = index.search(sample.queries, 10, where=where, **self.wide)
        self._assert_filtered(hits, sample, mask, metric)

    @every_metric
    @pytest.mark.parametrize("share", [0.003, 0.1, 0.9])
    def test_a_mask_lets_only_its_documents_pass(
        self, built: Built, metric: Metric, share: float
    ) -> None:
        sample, index = _sample(metric), built(metric)
        mask = np.random.default_rng(1).random(len(sample.documents)) < share
        mask[5] = True
        hits = index.search(sample.queries, 10, where=mask, **self.wide)
        self._assert_filtered(hits, sample, mask, metric)

    def _assert_filtered(
        self, hits: Hits, sample: Sample, mask: NDArray[np.bool_], metric: Metric
    ) -> None:
        assert_contract(hits, len(sample.queries), 10, len(sample.documents))
        assert mask[hits.ids[hits.ids >= 0]].all()
        rows = np.flatnonzero(mask)
        k = min(10, len(rows))
        if self.recall == 1.0:
            assert (hits.found == k).all()
        _, best = exact_neighbours(sample.documents[rows], sample.queries, k, metric)
        cut = Hits(hits.ids[:, :k].copy(), hits.scores[:, :k].copy())
        assert share_found(cut, best, sample, metric) >= self.recall

    @every_metric
    def test_a_filter_that_passes_all_or_none(self, built: Built, metric: Metric) -> None:
        sample, index = _sample(metric), built(metric)
        n = len(sample.documents)
        plain = index.search(sample.queries, 10, **self.wide)
        for everything in (np.ones(n, dtype=bool), Filter.parse({"year": {"min": 0}})):
            hits = index.search(sample.queries, 10, where=everything, **self.wide)
            np.testing.assert_array_equal(hits.scores, plain.scores)  # documents may be tied
        for nothing in (np.zeros(n, dtype=bool), Filter.parse({"language": []})):
            hits = index.search(sample.queries, 10, where=nothing, **self.wide)
            assert_contract(hits, len(sample.queries), 10, n)
            assert (hits.found == 0).all()

    def test_a_filter_that_cannot_work_is_refused(self, make: Make) -> None:
        sample = _sample("cosine")
        n = len(sample.documents)
        index = make().build(sample.documents, attributes=self._attributes(n))
        wrong: list[tuple[Any, str]] = [
            (Filter.parse({"langage": "de"}), "Did you mean 'language'"),
            (Filter.parse({"year": "1990"}), "whole numbers"),
            (np.ones(n - 1, dtype=bool), "a mask must be bool of shape"),
        ]
        for where, rule in wrong:
            with pytest.raises(InputError, match=rule):
                index.search(sample.queries, 3, where=where)
        with pytest.raises(InputError, match="needs attributes"):
            make().build(sample.documents).search(
                sample.queries, 3, where=Filter.parse({"year": 1990})
            )
        with pytest.raises(InputError, match=f"2 rows for {n} documents"):
            make().build(sample.documents, attributes={"year": [1, 2]})

    # -- saving and loading --------------------------------------------------------------------

    @every_metric
    def test_a_saved_index_gives_the_same_hits(
        self, make: Make, metric: Metric, tmp_path: Path
    ) -> None:
        sample = _sample(metric)
        attributes = self._attributes(len(sample.documents))
        index = make(metric=metric, seed=5).build(sample.documents, attributes=attributes)
        index.save(tmp_path / "index")
        where = Filter.parse({"language": "de"})
        for mapped in (False, True) if index.memory_maps else (False,):
            loaded = type(index).load(tmp_path / "index", threads=1, memory_map=mapped)
            assert loaded.identity() == index.identity()
            assert (loaded.n, loaded.d, loaded.metric) == (index.n, index.d, metric)
            for settings in (self.narrow, self.wide):
                expected = index.search(sample.queries, 10, **settings)
                assert_equal_hits(loaded.search(sample.queries, 10, **settings), expected)
            expected = index.search(sample.queries, 10, where=where, **self.wide)
            assert_equal_hits(loaded.search(sample.queries, 10, where=where, **self.wide), expected)
            loaded.close()
        if not index.memory_maps:
            with pytest.raises(InputError, match="cannot be memory-mapped"):
                type(index).load(tmp_path / "index", memory_map=True)

    def test_a_closed_index_refuses_to_search(self, make: Make) -> None:
        documents = _sample("cosine").documents
        index = make().build(documents)
        index.search(documents[:2], 3)
        index.close()
        with pytest.raises(InputError, match="build or load it before searching"):
            index.search(documents[:2], 3)
        assert index.build(documents).search(documents[:2], 3).ids.shape == (2, 3)

    def test_identity_and_size_are_plain_values(self, make: Make) -> None:
        index = make()
        assert json.loads(json.dumps(index.identity())) == index.identity()
        index.build(_sample("cosine").documents)
        assert index.size_bytes() > 0

    def test_damaged_files_are_refused(self, make: Make, tmp_path: Path) -> None:
        index = make().build(_sample("cosine").documents)
        index.save(tmp_path)
        files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
        for path in files:
            content = path.read_bytes()
            flipped = bytearray(content)
            flipped[len(content) // 2] ^= 1
            for damaged in (bytes(flipped), content[: len(content) // 2], content + b"\0", b""):
                path.write_bytes(damaged)
                with pytest.raises(RetrievalEvalError):
                    type(index).load(tmp_path)
            path.write_bytes(content)
        (tmp_path / "stray").touch()
        with pytest.raises(InputError, match="files differ from its manifest: stray"):
            type(index).load(tmp_path)
        with pytest.raises(InputError, match="is not empty"):
            index.save(tmp_path)
