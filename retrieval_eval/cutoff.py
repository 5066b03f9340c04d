"""Where to cut a ranking, so that what is returned is a set: by rank, by score, by a learned map.

A cosine says little by itself: 0.4 may be the best there is for one query, and noise for another.
So a threshold on cosines can be set against one on a map that minds the query: a logistic
regression on the score and on what the whole ranking's scores look like, after the idea of Rossi et
al. 2024 [1]_ (their own form of the map is another). A cut is a depth for each query.

.. [1] N. Rossi et al., Relevance filtering for embedding-based retrieval, CIKM 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.evaluation.pairing import Judgments
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

__all__ = [
    "FEATURES",
    "JudgedScores",
    "ScoreMap",
    "choose_rank",
    "choose_threshold",
    "cut_run",
    "depths_by_threshold",
    "fit_score_map",
    "judged_scores",
    "oracle_depths",
    "score_features",
]

Floats = NDArray[np.float64]

FEATURES = ("score", "top", "gap", "dispersion")
"""What a map sees of a document: its score; and the query's best score, its lead, their spread."""


@dataclass(frozen=True, eq=False)
class JudgedScores:
    """Scores of a run's documents and whether these are relevant, a row for each judged query.

    Parameters
    ----------
    query_ids : tuple of str, length q
        The judged queries.
    scores : ndarray of float64, shape (q, depth)
        In rank order; ``-inf`` where fewer documents were found.
    relevant : ndarray of bool, shape (q, depth)
        Whether each is relevant.
    total : ndarray of int64, shape (q,)
        Relevant documents of each query, found or not.
    """

    query_ids: tuple[str, ...]
    scores: Floats
    relevant: NDArray[np.bool_]
    total: NDArray[np.int64]

    @property
    def found(self) -> NDArray[np.bool_]:
        """Where there is a document; shape (q, depth)."""
        return self.scores > -np.inf

    def f1(self) -> Floats:
        """Return F1 of the first 0, 1, ..., depth documents; shape (q, depth + 1).

        Beyond what was found it stays what it is there. 0 for a query without relevant documents.
        """
        hit = np.cumsum(self.relevant, axis=1)
        returned = np.cumsum(self.found, axis=1)
        values = np.zeros((len(self.total), 1 + self.scores.shape[1]))
        values[:, 1:] = 2 * hit / np.maximum(1, returned + self.total[:, None])
        return values

    def recall(self) -> Floats:
        """Return the recall of the first 0, 1, ..., depth documents; shape (q, depth + 1)."""
        values = np.zeros((len(self.total), 1 + self.scores.shape[1]))
        values[:, 1:] = np.cumsum(self.relevant, axis=1) / np.maximum(1, self.total[:, None])
        return values


def judged_scores(
    run: Run, qrels: Qrels, *, depth: int | None = None, level: int = 1
) -> JudgedScores:
    """Bring a run and judgments together.

    Parameters
    ----------
    run : Run
        Ties are in trec_eval's order, as everywhere.
    qrels : Qrels
        Every judged query has a row, answered or not.
    depth : int, optional
        Documents of each query that can be returned; by default all of the run.
    level : int
        Grade from which a document is relevant.

    Returns
    -------
    JudgedScores

    Raises
    ------
    InputError
        If the depth is below 1, or the run answers none of the queries.

    Examples
    --------
    >>> run = Run.from_mapping({"q1": {"a": 0.9, "b": 0.5}})
    >>> found = judged_scores(run, Qrels.from_mapping({"q1": {"b": 1}, "q2": {"a": 1}}))
    >>> found.scores.tolist(), found.relevant.tolist()
    ([[0.9, 0.5], [-inf, -inf]], [[False, True], [False, False]])
    """
    run = run if depth is None else run.top(depth)
    judgments = Judgments(qrels)
    rows = judgments.rows_of(run)[run.query]
    known = rows >= 0
    if not known.any():
        raise InputError(f"run {run.name!r} answers none of the {len(qrels.query_ids)} queries")
    shape = (judgments.n_queries, int(run.rank[known].max()))
    scores, relevant = np.full(shape, -np.inf), np.zeros(shape, dtype=bool)
    scores[rows[known], run.rank[known] - 1] = run.score[known]
    met = judgments.meet(run, expected_ties=False).relevant(level)
    relevant[met.query, met.rank - 1] = True
    return JudgedScores(qrels.query_ids, scores, relevant, judgments.relevant_counts(level))


def score_features(scores: Floats) -> Floats:
    """Describe each document by its score and by those of its ranking.

    Parameters
    ----------
    scores : ndarray of float64, shape (q, depth)
        In rank order; ``-inf`` for no document.

    Returns
    -------
    ndarray of float64, shape (q, depth, 4)
        As :data:`FEATURES` names them: the score; the query's first score; the first minus the
        second (0 with one document); the standard deviation of all. NaN where there is no document.

    Examples
    --------
    >>> score_features(np.array([[0.9, 0.5, -np.inf]])).round(3).tolist()
    [[[0.9, 0.9, 0.4, 0.2], [0.5, 0.9, 0.4, 0.2], [nan, nan, nan, nan]]]
    """
    found = scores > -np.inf
    known = np.where(found, scores, 0.0)
    counts = np.maximum(1, found.sum(axis=1))
    means = known.sum(axis=1) / counts
    squares = np.where(found, (known - means[:, None]) ** 2, 0.0).sum(axis=1)
    top = known[:, 0]
    gap = top - known[:, 1] if scores.shape[1] > 1 else np.zeros_like(top)
    gap = np.where(found.sum(axis=1) > 1, gap, 0.0)
    query = np.stack([top, gap, np.sqrt(squares / counts)], axis=1)
    features = np.empty((*scores.shape, len(FEATURES)))
    features[..., 0] = known
    features[..., 1:] = query[:, None, :]
    features[~found] = np.nan
    return features


@dataclass(frozen=True)
class ScoreMap:
    """A map of scores to probabilities of relevance that minds the query.

    Parameters
    ----------
    weights : tuple of float, length 4
        Of :data:`FEATURES`, in log odds a unit.
    bias : float
        Log odds of a document all of whose features are 0.

    Examples
    --------
    >>> ScoreMap((10.0, -10.0, 0.0, 0.0), 0.0).apply(np.array([[0.9, 0.5]])).round(3).tolist()
    [[0.5, 0.018]]
    """

    weights: tuple[float, ...]
    bias: float

    def apply(self, scores: Floats) -> Floats:
        """Return the probability that each document is relevant, ``-inf`` for no document.

        Parameters
        ----------
        scores : ndarray of float64, shape (q, depth)
            In rank order; ``-inf`` for no document.
        """
        from scipy.special import expit

        odds = score_features(scores) @ np.array(self.weights) + self.bias
        return np.where(scores > -np.inf, expit(odds), -np.inf)


def fit_score_map(training: JudgedScores, *, strength: float = 1.0) -> ScoreMap:
    """Learn a map from training queries, by scikit-learn's logistic regression.

    Parameters
    ----------
    training : JudgedScores
        Queries that nothing is reported on. Documents without a judgment count as not relevant.
    strength : float
        Of the penalty on squared weights of standardised features, above 0 (the inverse of
        scikit-learn's ``C``).

    Returns
    -------
    ScoreMap

    Raises
    ------
    InputError
        If the strength is out of range, or all documents are relevant, or none.

    Examples
    --------
    >>> scores = np.array([[0.9, 0.5, 0.4], [0.4, 0.1, 0.0]])
    >>> relevant = np.array([[True, False, False], [True, False, False]])
    >>> training = JudgedScores(("q1", "q2"), scores, relevant, np.array([1, 1]))
    >>> bool(fit_score_map(training, strength=0.01).apply(scores)[:, 0].min() > 0.5)
    True
    """
    from sklearn.linear_model import LogisticRegression

    if not 0 < strength < np.inf:
        raise InputError(f"the strength is {strength}: it must be above 0")
    labels = training.relevant[training.found]
    if labels.all() or not labels.any():
        raise InputError(
            f"{int(labels.sum())} of {len(labels)} documents of the training queries are relevant: "
            "a map needs some of both kinds"
        )
    features = score_features(training.scores)[training.found]
    centre, scale = features.mean(axis=0), features.std(axis=0)
    scale[scale == 0] = 1.0
    model = LogisticRegression(C=1 / strength, max_iter=1000, tol=1e-8)
    model.fit((features - centre) / scale, labels)
    weights = model.coef_[0] / scale
    return ScoreMap(tuple(weights.tolist()), float(model.intercept_[0] - weights @ centre))


def choose_rank(training: JudgedScores, *, recall: float | None = None) -> int:
    """Choose the number of documents to return for every query.

    Parameters
    ----------
    training : JudgedScores
        Queries that nothing is reported on.
    recall : float, optional
        The least number with this share of the mean recall that all documents have, above 0 and at
        most 1; by default the number with the highest mean F1 (the least of several).

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> relevant = np.array([[True, False], [True, True]])
    >>> scores = np.array([[0.9, 0.3], [0.8, 0.7]])
    >>> training = JudgedScores(("q1", "q2"), scores, relevant, np.array([1, 2]))
    >>> choose_rank(training), choose_rank(training, recall=0.7)
    (1, 1)
    """
    if recall is None:
        return 1 + int(np.argmax(training.f1()[:, 1:].mean(axis=0)))
    means = training.recall().mean(axis=0)
    return max(1, int(np.argmax(means >= _needed(recall, float(means[-1])))))


def choose_threshold(
    training: JudgedScores, values: Floats, *, recall: float | None = None
) -> float:
    """Choose one threshold for all queries.

    Parameters
    ----------
    training : JudgedScores
        Queries that nothing is reported on.
    values : ndarray of float64, shape (q, depth)
        What the threshold is on: the scores themselves, or what a map makes of them; higher is more
        relevant.
    recall : float, optional
        As of :func:`choose_rank`: the highest threshold with this share of the mean recall; by
        default the one with the highest mean F1 (the highest of several).

    Returns
    -------
    float
        Half way to the next lower value that occurs; ``inf`` if nothing is better than to return
        nothing.

    Examples
    --------
    >>> relevant = np.array([[True, False], [True, True]])
    >>> scores = np.array([[0.9, 0.3], [0.7, 0.5]])
    >>> training = JudgedScores(("q1", "q2"), scores, relevant, np.array([1, 2]))
    >>> choose_threshold(training, scores), choose_threshold(training, scores, recall=0.5)
    (0.4, 0.8)
    """
    found = training.found
    curve = training.f1() if recall is None else training.recall()
    # Each document adds its part when the threshold falls to the lowest value up to it.
    order_by = np.minimum.accumulate(np.where(found, values, -np.inf), axis=1)[found]
    order = np.argsort(-order_by, kind="stable")
    at = order_by[order]
    reached = np.cumsum(np.diff(curve, axis=1)[found][order]) / len(training.total)
    last = np.append(at[1:] != at[:-1], True)
    at, reached = at[last], reached[last]
    if recall is None:
        place = int(np.argmax(reached))
    else:
        place = int(np.argmax(reached >= _needed(recall, float(reached[-1]))))
    if reached[place] <= 0:
        return float("inf")
    lower = at[place + 1] if place + 1 < len(at) else at[place]
    middle = (at[place] + lower) / 2
    return float(middle if middle > lower else at[place])


def _needed(share: float, whole: float) -> float:
    if not 0 < share <= 1:
        raise InputError(f"the share of recall is {share}: it must be above 0 and at most 1")
    return share * whole - 1e-12  # of sums in another order


def depths_by_threshold(values: Floats, threshold: float) -> NDArray[np.int64]:
    """Cut each ranking before the first document below a threshold.

    Parameters
    ----------
    values : ndarray of float64, shape (q, depth)
        In rank order; ``-inf`` for no document.
    threshold : float
        A document at the threshold is returned.

    Returns
    -------
    ndarray of int64, shape (q,)
        How many documents each query returns.

    Examples
    --------
    >>> depths_by_threshold(np.array([[0.9, 0.5], [0.4, -np.inf]]), 0.5).tolist()
    [2, 0]
    """
    kept = (values >= threshold) & (values > -np.inf)
    depths: NDArray[np.int64] = np.minimum.accumulate(kept, axis=1).sum(axis=1, dtype=np.int64)
    return depths


def oracle_depths(judged: JudgedScores) -> NDArray[np.int64]:
    """Cut each ranking where its F1 is highest, which only its judgments tell.

    No cut has a higher F1 on any query. Where several are highest, the shortest is taken.

    Parameters
    ----------
    judged : JudgedScores
        The queries themselves.

    Returns
    -------
    ndarray of int64, shape (q,)

    Examples
    --------
    >>> relevant = np.array([[False, True, False]])
    >>> judged = JudgedScores(("q1",), np.array([[3.0, 2.0, 1.0]]), relevant, np.array([1]))
    >>> oracle_depths(judged).tolist()
    [2]
    """
    depths: NDArray[np.int64] = np.argmax(judged.f1(), axis=1).astype(np.int64)
    return depths


def cut_run(
    run: Run, query_ids: Sequence[str], depths: NDArray[np.int64] | int, name: str | None = None
) -> Run:
    """Return the first documents of each query, as many as a cut says.

    Parameters
    ----------
    run : Run
        Not changed.
    query_ids : sequence of str, length q
        The queries; those of the run that are not named return nothing.
    depths : ndarray of int64, shape (q,), or int
        How many documents each returns, at least 0.
    name : str, optional
        Of the run that is made; by default that of `run`.

    Returns
    -------
    Run
        To be evaluated by measures of sets: SetP, SetR, SetF, NumRet. A query that returns nothing
        scores 0 on all of them.

    Raises
    ------
    InputError
        If there are not as many depths as queries, or one is below 0.

    Examples
    --------
    >>> run = Run.from_mapping({"q1": {"a": 0.9, "b": 0.5}, "q2": {"a": 0.4}})
    >>> cut_run(run, ["q1", "q2"], np.array([1, 0])).to_mapping()
    {'q1': {'a': 0.9}, 'q2': {}}
    """
    wanted = np.broadcast_to(depths, (len(query_ids),)) if isinstance(depths, int) else depths
    if wanted.shape != (len(query_ids),) or (wanted < 0).any():
        raise InputError(
            f"a cut of {len(query_ids)} queries needs a depth of at least 0 for each, got shape "
            f"{wanted.shape}, smallest {wanted.min(initial=0)}"
        )
    by_name = dict(zip(query_ids, wanted.tolist(), strict=True))
    most = np.array([by_name.get(one, 0) for one in run.query_ids], dtype=np.int64)
    rows = np.flatnonzero(run.rank <= most[run.query])
    return replace(
        run,
        name=name or run.name,
        query=run.query[rows],
        document=run.document[rows],
        score=run.score[rows],
    )
