"""BM25 as sparse vectors: against bm25s itself, the published formulas, and real collections."""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from retrieval_eval.datasets import load_dataset
from retrieval_eval.encoders.bm25 import Bm25Encoder
from retrieval_eval.errors import InputError, MissingExtraError
from retrieval_eval.evaluation import Evaluator
from retrieval_eval.indexes.sparse import SparseIndex
from retrieval_eval.runs import Run

bm25s = pytest.importorskip("bm25s", reason="bm25s is not installed: it comes with extra 'bm25'")
pytest.importorskip("Stemmer", reason="PyStemmer is not installed: it comes with extra 'bm25'")

DOCUMENTS = [
    "A red apple fell from the apple tree",
    "green apples and a ripe plum, a plum and a plum",
    "",
    "ripe plums and red cherries grow on trees",
    "the steam engine drove the cotton mill: engines, engines everywhere in the mill",
    "apple",
]
QUERIES = ["ripe apples", "engine engine mill", "xyzzy", "red tree of plums"]


def fitted(documents: list[str] = DOCUMENTS, **parameters: Any) -> Bm25Encoder:
    encoder = Bm25Encoder(**parameters).fit(documents)
    assert isinstance(encoder, Bm25Encoder)
    return encoder


def scores(encoder: Bm25Encoder, queries: list[str], documents: list[str]) -> NDArray[Any]:
    counts = encoder.encode(queries, "query").astype(np.float64)
    found: NDArray[Any] = (counts @ encoder.encode(documents, "document").T).toarray()
    return found


# -- the formula --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lucene", "robertson", "atire"])
@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.5, 0.75), (0.0, 1.0), (2.0, 0.0)])
def test_scores_are_those_of_bm25s(method: str, k1: float, b: float) -> None:
    tokens, asked = (
        bm25s.tokenize(texts, return_ids=False, show_progress=False)
        for texts in (DOCUMENTS, QUERIES)
    )
    peer = bm25s.BM25(k1=k1, b=b, method=method)
    peer.index(tokens, show_progress=False)
    expected = [
        peer.get_scores(words) if any(word in peer.vocab_dict for word in words) else [0.0] * 6
        for words in asked
    ]
    found = scores(fitted(method=method, k1=k1, b=b, stemmer=None), QUERIES, DOCUMENTS)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.count_nonzero(found) >= 4


def published(
    method: str, delta: float, k1: float, b: float, tf: int, df: int, n: int, length: float
) -> float:
    """Weigh a term; `length` is relative to the mean."""
    if method == "bm25+":  # Lv & Zhai, CIKM 2011
        return math.log((n + 1) / df) * ((k1 + 1) * tf / (k1 * (1 - b + b * length) + tf) + delta)
    normal = tf / (1 - b + b * length)  # Lv & Zhai, SIGIR 2011, with its idf
    return math.log((n + 1) / (df + 0.5)) * (k1 + 1) * (normal + delta) / (k1 + normal + delta)


@pytest.mark.parametrize(
    ("method", "given_delta", "delta"),
    [("bm25l", None, 0.5), ("bm25+", None, 1.0), ("bm25l", 0.2, 0.2), ("bm25+", 0.0, 0.0)],
)
def test_a_lower_bound_counts_for_terms_that_occur_and_for_no_others(
    method: str, given_delta: float | None, delta: float
) -> None:
    documents = ["aa aa bb", "aa cc cc cc cc cc cc", "dd dd"]
    found = scores(fitted(documents, method=method, delta=given_delta), ["aa", "dd"], documents)
    mean = (3 + 7 + 2) / 3
    expected = [
        [
            published(method, delta, 0.9, 0.4, 2, 2, 3, 3 / mean),
            published(method, delta, 0.9, 0.4, 1, 2, 3, 7 / mean),
            0,
        ],
        [0, 0, published(method, delta, 0.9, 0.4, 2, 1, 3, 2 / mean)],
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_term_that_says_nothing_leaves_no_entry() -> None:
    documents = ["aa bb", "aa cc", "aa"]
    for method in ("robertson", "atire"):
        weights = fitted(documents, method=method).encode(documents, "document")
        assert np.diff(weights.indptr).tolist() == [1, 1, 0]
        assert (weights.data > 0).all()
    assert fitted(documents).encode(documents, "document").nnz == 5


def test_a_query_counts_its_terms_and_drops_unknown_ones() -> None:
    counts = fitted().encode(QUERIES, "query")
    assert sorted(counts[1:2].data.tolist()) == [1.0, 2.0]
    assert counts[2:3].nnz == 0
    assert counts.dtype == np.float32
    assert counts.shape == (len(QUERIES), fitted().dimension())


# -- words ----------------------------------------------------------------------------------------


def test_words_are_stemmed_and_folded_and_stop_words_left_out() -> None:
    encoder = fitted()
    alike = encoder.encode(["APPLES and the plums", "apple, plum"], "query").toarray()
    np.testing.assert_array_equal(alike[0], alike[1])
    assert alike[0].sum() == 2
    assert not encoder.encode(["the of and", "a", "", "?!"], "query").nnz


def test_a_form_that_only_a_query_has_finds_the_stem() -> None:
    encoder = fitted()
    assert encoder.encode(["applesed cherry mills"], "query").nnz == 2
    # Asking must teach nothing: the vocabulary is that of the documents.
    before = encoder.dimension()
    encoder.encode(["entirely new words"], "query")
    assert encoder.dimension() == before
    assert encoder.encode(["entirely"], "query").shape[1] == before


@pytest.mark.parametrize(
    ("parameters", "text", "n"),
    [
        ({"stemmer": None}, "apple apples", 2),
        ({"stop_words": None}, "the apple", 2),
        ({"lower_case": False}, "apple APPLE", 1),
        ({"token_pattern": r"\w+"}, "apple a", 1),
        ({"token_pattern": r"\w+", "stop_words": None}, "apple a", 2),
        ({"token_pattern": r"(app)le"}, "apple", 1),
        ({"stop_words": "english_plus"}, "everywhere from apple", 2),
        ({"stemmer": "german", "stop_words": "german"}, "apple und", 1),
    ],
)
def test_each_parameter_of_the_tokeniser_works(
    parameters: dict[str, Any], text: str, n: int
) -> None:
    assert fitted(**parameters).encode([text], "query").nnz == n


def test_one_group_of_the_pattern_is_the_word() -> None:
    pattern = {"token_pattern": r"#(\w+)"}
    encoder = fitted(["#one #two three"], **pattern, stemmer=None)
    assert encoder.dimension() == 2
    assert encoder.encode(["one #one"], "query").sum() == 1


# -- fitting --------------------------------------------------------------------------------------


class Lazy(list[str]):
    """Texts that tell how many were read at once."""

    most = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        self.most = max(self.most, len(found) if isinstance(key, slice) else 1)
        return found

    def __iter__(self) -> Any:
        raise AssertionError("all texts were read at once")


def test_fitting_reads_one_batch_at_a_time() -> None:
    documents = Lazy(f"word{i % 7} word{i % 11} {i}" for i in range(3000))
    encoder = fitted(documents)
    assert 0 < documents.most <= encoder.batch_texts < 3000
    whole = Bm25Encoder()
    whole.batch_texts = 10_000
    at_once = whole.fit(list.copy(documents))
    for kind in ("document", "query"):
        one, other = (e.encode(documents[:50], kind) for e in (encoder, at_once))
        np.testing.assert_array_equal(one.toarray(), other.toarray())


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(st.text(alphabet="ab c", max_size=20), min_size=1, max_size=8),
    cut=st.integers(0, 8),
    method=st.sampled_from(["lucene", "robertson", "atire", "bm25l", "bm25+"]),
)
def test_weights_do_not_depend_on_the_batch(texts: list[str], cut: int, method: str) -> None:
    encoder = fitted([*texts, "aa bb"], method=method)
    whole = encoder.encode(texts, "document")
    parts = [encoder.encode(part, "document") for part in (texts[:cut], texts[cut:])]
    joined = vstack(parts, format="csr")
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(joined, name))


def test_the_stream_can_start_again_in_the_middle() -> None:
    encoder = fitted()
    encoder.batch_texts = 2
    blocks = list(encoder.stream(DOCUMENTS, "document"))
    again = list(encoder.stream(DOCUMENTS, "document", start=2))
    assert [block.shape[0] for block in blocks] == [2, 2, 2]
    np.testing.assert_array_equal(vstack(blocks[1:]).toarray(), vstack(again).toarray())


def test_fitting_leaves_the_encoder_that_was_asked_unfitted() -> None:
    encoder = Bm25Encoder(k1=1.2)
    first, second = encoder.fit(DOCUMENTS), encoder.fit(["other words"])
    assert encoder.dimension() is None
    assert (first.dimension(), second.dimension()) != (None, None)
    assert first.identity() == second.identity() == encoder.identity()
    with pytest.raises(InputError, match="encoder 'bm25' must be fitted first"):
        encoder.encode(["apple"], "query")


def test_vectors_are_sparse_float32_with_sorted_terms() -> None:
    weights = fitted().encode(DOCUMENTS, "document")
    assert isinstance(weights, csr_array)
    assert weights.dtype == np.float32
    assert weights.has_canonical_format
    assert weights[2:3].nnz == 0, "an empty document has no term"
    encoder = fitted()
    assert encoder.sparse
    assert encoder.needs_fit
    assert encoder.zero_means_no_match


@pytest.mark.parametrize("documents", [[], ["", "  "], ["the of and", "a"]])
def test_a_corpus_without_any_word_is_refused(documents: list[str]) -> None:
    with pytest.raises(InputError, match="encoder 'bm25': the corpus yields no vocabulary"):
        Bm25Encoder().fit(documents)


# -- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"k1": 1.2},
        {"b": 0.75},
        {"method": "atire"},
        {"method": "bm25+", "delta": 0.3},
        {"stemmer": None},
        {"stop_words": None},
        {"lower_case": False},
        {"token_pattern": r"\w+"},
    ],
)
def test_each_parameter_is_part_of_the_identity(change: dict[str, Any]) -> None:
    assert Bm25Encoder(**change).identity() != Bm25Encoder().identity()
    assert Bm25Encoder(**change).identity() == Bm25Encoder(**change).identity()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"k1": -0.1}, "parameter 'k1' is -0.1"),
        ({"k1": math.nan}, "parameter 'k1' is nan"),
        ({"b": 1.1}, "parameter 'b' is 1.1"),
        ({"method": "bm25"}, "parameter 'method' is 'bm25'"),
        ({"delta": 0.5}, "delta is 0.5, but method 'lucene' has none: leave it out, or choose"),
        ({"stop_words": "klingon"}, "parameter 'stop_words' is 'klingon'"),
        ({"token_pattern": "("}, "token_pattern is '[(]': missing [)]"),
        ({"token_pattern": r"\w*"}, "it matches nothing at all; it must match one word"),
        ({"token_pattern": r"(a)(b)"}, "it has more than one group"),
        ({"k_1": 1.0}, "unknown parameter 'k_1'. Did you mean 'k1'?"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"encoder 'bm25': .*{message.replace('?', '[?]')}"):
        Bm25Encoder(**parameters)


def test_an_unknown_stemmer_is_refused_before_any_work() -> None:
    with pytest.raises(InputError, match=r"unknown stemmer 'englisch'. Did you mean 'english'"):
        Bm25Encoder(stemmer="englisch").check(10, 10)


@pytest.mark.parametrize("module", ["bm25s", "Stemmer"])
def test_a_missing_library_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    find_spec = importlib.util.find_spec

    def without(asked: str, package: str | None = None) -> Any:
        return None if asked == module else find_spec(asked, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    for action in (lambda: Bm25Encoder().fit(DOCUMENTS), lambda: Bm25Encoder().check(1, 1)):
        with pytest.raises(MissingExtraError) as caught:
            action()
        assert f"needs the library '{module}', which is not" in str(caught.value)
        assert "pip install 'ann-retrieval-eval[bm25]'" in str(caught.value)


# -- real collections -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cranfield", (0.491, 0.738, 0.773)),
        ("cisi", (0.373, 0.427, 0.618)),
        ("scifact", (0.676, 0.913, 0.641)),
    ],
)
def test_the_defaults_reach_the_reference_figures(
    name: str, expected: tuple[float, float, float], collections: Path
) -> None:
    dataset = load_dataset(str(collections / name))
    encoder = Bm25Encoder().fit(dataset.documents)
    vectors = vstack(list(encoder.stream(dataset.documents, "document")), format="csr")
    hits = SparseIndex().build(vectors).search(encoder.encode(dataset.queries, "query"), 100)
    run = Run.from_hits(hits, dataset.query_ids, dataset.document_ids, "bm25")
    values = Evaluator(dataset.qrels, ["nDCG@10", "R@100", "RR@10"]).evaluate(run).values
    # Figures published with the collections, in three digits.
    assert values.mean(axis=1).tolist() == pytest.approx(expected, abs=0.0011)


def test_hits_on_real_texts_are_those_of_a_dense_product(collections: Path) -> None:
    dataset = load_dataset(str(collections / "cranfield"))
    encoder = Bm25Encoder().fit(dataset.documents)
    queries = encoder.encode(dataset.queries, "query")
    vectors = encoder.encode(dataset.documents, "document")
    hits = SparseIndex().build(vectors).search(queries, 100)
    dense = queries.toarray().astype(np.float64) @ vectors.toarray().astype(np.float64).T
    order = np.argsort(-dense.astype(np.float32), axis=1, kind="stable")[:, :100]
    best = np.take_along_axis(dense, order, axis=1)
    np.testing.assert_array_equal(hits.ids, np.where(best > 0, order, -1))
    np.testing.assert_allclose(hits.scores[best > 0], best[best > 0], rtol=1e-7)


def test_the_index_finds_no_document_without_a_shared_word() -> None:
    encoder = fitted()
    index = SparseIndex().build(encoder.encode(DOCUMENTS, "document"))
    hits = index.search(encoder.encode(QUERIES, "query"), len(DOCUMENTS))
    found = [Counter(row[row >= 0].tolist()) for row in hits.ids]
    assert [set(row) for row in found] == [{0, 1, 3, 5}, {4}, set(), {0, 1, 3}]
