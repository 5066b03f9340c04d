"""BM25 as sparse vectors: term weights of documents, term counts of queries."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from retrieval_eval.encoders.base import Encoder, Kind
from retrieval_eval.errors import InputError, unknown_name

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Bm25Encoder", "Bm25Parameters"]

StopWords = Literal[
    "english",
    "english_plus",
    "chinese",
    "danish",
    "dutch",
    "french",
    "german",
    "italian",
    "korean",
    "norwegian",
    "portuguese",
    "russian",
    "spanish",
    "swedish",
    "turkish",
]

_DELTA = {"bm25l": 0.5, "bm25+": 1.0}  # as published


@dataclass(frozen=True)
class Bm25Parameters:
    """Parameters of :class:`Bm25Encoder`.

    Parameters
    ----------
    k1 : float
        How soon further occurrences of a term stop counting; at 0 none but the first counts.
    b : float
        How far long documents are marked down: 0 not at all, 1 in proportion to their length.
    method : {'lucene', 'robertson', 'atire', 'bm25l', 'bm25+'}
        Variant of the formula (Kamphuis et al. 2020). In ``robertson`` a term that half of the
        documents hold weighs nothing, in ``atire`` one that all hold.
    delta : float or None
        What an occurrence counts at least, however long the document; for ``bm25l`` and ``bm25+``
        alone, where None is what was published: 0.5 and 1.
    stemmer : str or None
        A Snowball algorithm, such as ``english``, ``porter`` or ``german``.
    stop_words : str or None
        List of words left out, before stemming. ``english`` is the short list of Lucene (33 words),
        ``english_plus`` a long one (179).
    lower_case : bool
        Fold upper case to lower; stop words and stemmers expect that.
    token_pattern : str
        Regular expression of a word, with at most one group, which is then the word. By default two
        letters, digits or underscores, or more. Scripts without spaces need another.
    """

    k1: Annotated[float, Ge(0), Le(1000)] = 0.9
    b: Annotated[float, Ge(0), Le(1)] = 0.4
    method: Literal["lucene", "robertson", "atire", "bm25l", "bm25+"] = "lucene"
    delta: Annotated[float, Ge(0), Le(1000)] | None = None
    stemmer: str | None = "english"
    stop_words: StopWords | None = "english"
    lower_case: bool = True
    token_pattern: str = r"(?u)\b\w\w+\b"  # noqa: S105  # of words, nothing secret


class Bm25Encoder(Encoder):
    """BM25, the lexical baseline (Robertson & Zaragoza 2009), by bm25s' tokeniser and formulas.

    A document becomes one weight for each of its terms, inverse document frequency times saturated
    term frequency; a query becomes counts of its terms. Their inner product is the BM25 score, so
    the index ``sparse`` ranks by it, and no document that lacks every term of a query is found.
    Terms that no document holds are unknown, and are dropped.

    Vocabulary, document frequencies and mean length come from the documents alone, in one pass that
    holds a batch of texts at a time. Lengths count words as the tokeniser leaves them, without stop
    words. Defaults are those of Anserini's BM25 (k1 0.9, b 0.4), not of bm25s (1.5, 0.75).

    In ``bm25l`` and ``bm25+`` a term that does not occur contributes nothing, as in the papers of
    Lv & Zhai (SIGIR 2011, CIKM 2011). bm25s and rank_bm25 give `delta` to absent terms, too, so
    that in their BM25+ it cancels out; rankings by these two differ from theirs.

    Examples
    --------
    >>> documents = ["red apples", "a red plum", "blue plums"]
    >>> fitted = Bm25Encoder().fit(documents)
    >>> queries = fitted.encode(["plum, red plum!", "xyzzy"], "query")
    >>> queries.toarray().tolist()
    [[1.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    >>> (queries @ fitted.encode(documents, "document").T).toarray().argmax(axis=1)[0]
    np.int64(1)
    """

    name: ClassVar[str] = "bm25"
    Parameters: ClassVar[type[Any]] = Bm25Parameters
    requires: ClassVar[dict[str, str]] = {"bm25s": "bm25", "Stemmer": "bm25"}
    libraries: ClassVar[tuple[str, ...]] = ("bm25s",)
    distributions: ClassVar[tuple[str, ...]] = ("bm25s", "PyStemmer", "numpy", "scipy")
    needs_fit: bool = True
    sparse: ClassVar[bool] = True
    zero_means_no_match: ClassVar[bool] = True
    batch_texts: int = 1024

    _tokenizer: Any = None
    _idf: NDArray[np.float64]
    _mean_length: float

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        own = self.parameters
        if own.delta is not None and own.method not in _DELTA:
            raise InputError(
                f"encoder 'bm25': delta is {own.delta}, but method {own.method!r} has none: leave "
                f"it out, or choose {' or '.join(_DELTA)}"
            )
        try:
            pattern = re.compile(own.token_pattern)
        except re.error as error:
            reason = str(error)
        else:
            reason = "it has more than one group" if pattern.groups > 1 else ""
            if pattern.match(""):
                reason = "it matches nothing at all"
        if reason:
            raise InputError(
                f"encoder 'bm25': token_pattern is {own.token_pattern!r}: {reason}; it must match "
                "one word"
            )

    def dimension(self) -> int | None:
        """Return the size of the vocabulary, once fitted."""
        return None if self._tokenizer is None else len(self._idf)

    def check(self, n_documents: int, n_queries: int) -> None:
        """Refuse a stemmer that there is not."""
        self._new_tokenizer()

    def _new_tokenizer(self) -> Any:
        """Return a tokeniser that knows no word yet."""
        self.require()
        import Stemmer
        from bm25s.tokenization import Tokenizer

        own = self.parameters
        stemmer = None
        if own.stemmer is not None:
            known = Stemmer.algorithms()
            if own.stemmer not in known:
                raise unknown_name("stemmer", own.stemmer, known, "encoder 'bm25'")
            stemmer = Stemmer.Stemmer(own.stemmer)
        return Tokenizer(
            lower=own.lower_case,
            splitter=own.token_pattern,
            stopwords=own.stop_words,
            stemmer=stemmer,
        )

    def fit(self, documents: Sequence[str]) -> Encoder:
        """Learn vocabulary, document frequencies and mean length from the documents."""
        from bm25s.scoring import _select_idf_scorer  # it has the formulas under no public name

        fitted = type(self)(**vars(self.parameters))
        tokenizer = fitted._new_tokenizer()
        frequencies, n_words = np.zeros(0, dtype=np.int64), 0
        for first in range(0, len(documents), self.batch_texts):
            batch = documents[first : first + self.batch_texts]
            counts, lengths = _counts(tokenizer, batch, learn=True)
            grown = np.bincount(counts.indices, minlength=counts.shape[1])
            grown[: len(frequencies)] += frequencies
            frequencies = grown
            n_words += int(lengths.sum())
        if not n_words:
            raise InputError(
                "encoder 'bm25': the corpus yields no vocabulary: no document holds a word that "
                "token_pattern finds and stop_words leaves in"
            )
        of_frequency = _select_idf_scorer(self.parameters.method)
        distinct, place = np.unique(frequencies, return_inverse=True)
        idf = np.array([of_frequency(int(df), len(documents)) for df in distinct])
        fitted._tokenizer, fitted._idf = tokenizer, idf[place]
        fitted._mean_length = n_words / len(documents)
        return fitted

    def encode(self, texts: Sequence[str], kind: Kind) -> csr_array:
        """Weigh the terms of documents, or count those of queries."""
        if self._tokenizer is None:
            raise InputError("encoder 'bm25' must be fitted first: use encoder.fit(documents)")
        counts, lengths = _counts(self._tokenizer, texts, learn=False)
        if kind == "document":
            counts.data = self._weights(counts, lengths)
            counts.eliminate_zeros()  # of terms so frequent that their idf is zero
        return counts

    def _weights(self, counts: csr_array, lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        from bm25s.scoring import _select_tfc_scorer

        own = self.parameters
        saturated = _select_tfc_scorer(own.method)(
            tf_array=counts.data.astype(np.float64),
            l_d=np.repeat(lengths, np.diff(counts.indptr)),
            l_avg=self._mean_length,
            k1=own.k1,
            b=own.b,
            delta=_DELTA.get(own.method) if own.delta is None else own.delta,
        )
        weights: NDArray[np.float32] = (self._idf[counts.indices] * saturated).astype(np.float32)
        return weights


def _counts(
    tokenizer: Any, texts: Sequence[str], *, learn: bool
) -> tuple[csr_array, NDArray[np.int64]]:
    """Count the terms of each text; learn new ones, or drop them. Also return lengths in words."""
    from scipy.sparse import csr_array

    words, ends = array("i"), array("q", [0])
    for ids in tokenizer.streaming_tokenize(texts, update_vocab=learn, allow_empty=False):
        words.extend(ids)
        ends.append(len(words))
    starts = np.array(ends, dtype=np.int64)
    lengths = np.diff(starts)  # before summing moves the bounds in place
    counts = csr_array(
        (np.ones(len(words), dtype=np.float32), np.array(words, dtype=np.int32), starts),
        shape=(len(texts), len(tokenizer.get_vocab_dict())),
    )
    counts.sum_duplicates()
    return counts, lengths
