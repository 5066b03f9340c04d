"""Learning a repair: steps of Adam against the live index, and the best epoch kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.datasets import Dataset
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluator
from retrieval_eval.indexes import Index
from retrieval_eval.indexes.repaired import ProductCodes, Repair, RepairedIndex
from retrieval_eval.parameters import make_parameters
from retrieval_eval.repair.loss import candidates_of, pairwise_loss
from retrieval_eval.runs import Run
from retrieval_eval.timing import ThreadLimit

__all__ = ["Epoch", "LearntRepair", "RepairOptions", "learn_repair"]

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

_DECAY_MEAN, _DECAY_SQUARE, _TINY = 0.9, 0.999, 1e-12  # of Adam (Kingma & Ba 2015)


@dataclass(frozen=True)
class RepairOptions:
    """How a repair is learnt.

    Parameters
    ----------
    learn : {'map', 'centroids', 'both'}
        What is learnt; the other stays as it is.
    epochs : int
        Times that all training queries are gone through, at most; with 0, nothing is learnt.
    patience : int
        Epochs without a better score on the validation queries before learning ends.
    batch : int
        Queries to a step.
    depth : int
        How many of the live index's hits are candidates for negatives.
    scale : float
        What scores are multiplied by in the loss: cosines lie so near together that the logistic
        function would be a straight line.
    map_rate, centroid_rate : float
        Learning rates of Adam.
    measure : str
        By which the best epoch is chosen, on the validation queries.
    seed : int
        Of the order of the training queries.
    threads : int
        Steps are small, and more threads wait for each other longer than they work.
    """

    learn: Literal["map", "centroids", "both"] = "both"
    epochs: int = 30
    patience: int = 5
    batch: int = 64
    depth: int = 200
    scale: float = 50.0
    map_rate: float = 1e-3
    centroid_rate: float = 3e-4
    measure: str = "nDCG@10"
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        for name, least in (
            ("epochs", 0),
            ("patience", 1),
            ("batch", 1),
            ("depth", 1),
            ("threads", 1),
        ):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}: it must be at least {least}")
        for name in ("scale", "map_rate", "centroid_rate"):
            if not 0 < getattr(self, name) < np.inf:
                raise InputError(f"{name} is {getattr(self, name)}: it must be above 0")


@dataclass(frozen=True)
class Epoch:
    """One time through the training queries.

    Parameters
    ----------
    number : int
        From 0, the index as it was.
    loss : float or None
        Mean over its steps; None for epoch 0.
    score : float
        Mean of the measure over the validation queries, after it.
    """

    number: int
    loss: float | None
    score: float


@dataclass(frozen=True, eq=False)
class LearntRepair:
    """What was learnt, and how it went.

    Parameters
    ----------
    repair : Repair
        That of the best epoch.
    best : int
        Its number; 0 if no epoch was better on the validation queries than the index as it was.
    epochs : tuple of Epoch
        All of them.
    training, validation : int
        Queries learnt from, and those that chose the epoch.
    """

    repair: Repair
    best: int
    epochs: tuple[Epoch, ...]
    training: int
    validation: int


def learn_repair(
    index: Index,
    dataset: Dataset,
    queries: NDArray[np.floating],
    *,
    training: Sequence[str],
    validation: Sequence[str],
    options: RepairOptions | None = None,
    **settings: Any,
) -> LearntRepair:
    """Learn a map of queries, centroids, or both, from judged queries.

    The loss of a query is the mean over pairs of a relevant document and one that is not, of
    ``|1 / rank - 1 / other rank| * log(1 + exp(scale * (other score - score)))``. At each step the
    live index, as changed so far, is searched for the queries of the step: what it ranks and is not
    judged relevant are the negatives, and relevant documents that it does not rank follow its last
    hit. Steps are Adam's, from the identity and the index's own centroids. The epoch that is best
    on the validation queries is kept; the index as it was is one of them.

    Parameters
    ----------
    index : Index
        Built, for cosine or inner products, as :meth:`ProductCodes.of` takes it. It stays as it is.
    dataset : Dataset
        With the documents that the index was built from, in their order, and the judgments.
    queries : ndarray of float, shape (q, d)
        Embeddings of the dataset's queries.
    training, validation : sequence of str
        Ids of queries; none of those that the repair is reported on.
    options : RepairOptions
        How it is learnt.
    **settings
        Single options, such as ``learn="map"``, instead of `options`.

    Returns
    -------
    LearntRepair

    Raises
    ------
    InputError
        If an id is unknown or in both parts, no training query has a relevant document, shapes do
        not fit, or the index is none that can be repaired.
    """
    options = options or make_parameters(RepairOptions, settings, "learning a repair")
    row_of = {one: row for row, one in enumerate(dataset.query_ids)}
    _check(index, dataset, queries, row_of, training, validation)
    with ThreadLimit(options.threads):
        return _learnt(index, dataset, queries, row_of, training, validation, options)


def _learnt(
    index: Index,
    dataset: Dataset,
    queries: NDArray[np.floating],
    row_of: dict[str, int],
    training: Sequence[str],
    validation: Sequence[str],
    options: RepairOptions,
) -> LearntRepair:
    codes = ProductCodes.of(index)
    live = RepairedIndex.around(index, Repair(np.eye(index.d, dtype=np.float32)))
    relevant = _relevant_rows(dataset)
    taught = [one for one in training if len(relevant.get(one, ()))]
    if not taught:
        raise InputError("no training query has a relevant document: there is nothing to learn")
    asked = queries[[row_of[one] for one in taught]]
    prepared = live.prepare(asked).astype(np.float64)
    evaluator = Evaluator(dataset.qrels.only_queries(validation), [options.measure])
    held = queries[[row_of[one] for one in validation]]

    def score() -> float:
        hits = live.search(held, options.depth)
        run = Run.from_hits(hits, validation, dataset.document_ids)
        return float(evaluator.evaluate(run).means[options.measure])

    def changed() -> Repair:
        own = {"map": None, "centroids": codes.digest, "both": codes.digest}[options.learn]
        centroids = None if own is None else values["centroids"].astype(np.float32)
        facts = {"options": asdict(options), "epochs": [asdict(one) for one in epochs]}
        return Repair(values["map"].astype(np.float32), centroids, own or "", facts)

    values = {"map": np.eye(index.d), "centroids": codes.centroids.astype(np.float64)}
    rates = {"map": options.map_rate, "centroids": options.centroid_rate}
    steps = {
        name: _Adam(values[name], rate)
        for name, rate in rates.items()
        if options.learn in (name, "both")
    }
    rng = np.random.default_rng(options.seed)
    epochs = [Epoch(0, None, score())]
    best, kept = 0, changed()
    while len(epochs) <= options.epochs and len(epochs) - 1 - best < options.patience:
        losses = []
        order = rng.permutation(len(taught))
        for start in range(0, len(order), options.batch):
            mine = order[start : start + options.batch]
            ranked = live.search(asked[mine], options.depth).ids
            loss, slopes = pairwise_loss(
                codes,
                values["map"],
                values["centroids"],
                prepared[mine],
                *candidates_of(ranked, [relevant[taught[row]] for row in mine]),
                scale=options.scale,
            )
            losses.append(loss)
            for name, step in steps.items():
                values[name] = step(values[name], slopes[name])
            live.put(changed())
        epochs.append(Epoch(len(epochs), float(np.mean(losses)), score()))
        if epochs[-1].score > epochs[best].score:
            best, kept = epochs[-1].number, changed()
    return LearntRepair(kept, best, tuple(epochs), len(taught), len(validation))


class _Adam:
    """Steps of Adam for one array of parameters."""

    def __init__(self, values: Array, rate: float) -> None:
        self._rate = rate
        self._mean, self._square = np.zeros_like(values), np.zeros_like(values)
        self._count = 0

    def __call__(self, values: Array, slope: Array) -> Array:
        self._count += 1
        self._mean = _DECAY_MEAN * self._mean + (1 - _DECAY_MEAN) * slope
        self._square = _DECAY_SQUARE * self._square + (1 - _DECAY_SQUARE) * slope**2
        mean = self._mean / (1 - _DECAY_MEAN**self._count)
        square = self._square / (1 - _DECAY_SQUARE**self._count)
        moved: Array = values - self._rate * mean / (np.sqrt(square) + _TINY)
        return moved


def _relevant_rows(dataset: Dataset) -> dict[str, Rows]:
    """Return the corpus rows of each query's relevant documents."""
    row_of = {one: row for row, one in enumerate(dataset.document_ids)}
    return {
        query: np.array(
            [row_of[one] for one, grade in grades.items() if grade > 0 and one in row_of],
            dtype=np.int64,
        )
        for query, grades in dataset.qrels.mapping.items()
    }


def _check(
    index: Index,
    dataset: Dataset,
    queries: NDArray[np.floating],
    row_of: dict[str, int],
    training: Sequence[str],
    validation: Sequence[str],
) -> None:
    if index.n != len(dataset.document_ids):
        raise InputError(
            f"the index holds {index.n} documents, dataset {dataset.name!r} has "
            f"{len(dataset.document_ids)}: build it from all of them, in their order"
        )
    if queries.shape != (len(row_of), index.d):
        raise InputError(
            f"queries have shape {queries.shape}, for dataset {dataset.name!r} and this index it "
            f"must be {(len(row_of), index.d)}"
        )
    unknown = next((one for one in (*training, *validation) if one not in row_of), None)
    if unknown is not None:
        raise InputError(f"dataset {dataset.name!r} has no query {unknown!r}")
    both = next(iter(set(training) & set(validation)), None)
    if both is not None:
        raise InputError(
            f"query {both!r} is in both parts: epochs are chosen on queries not taught"
        )
    if not validation:
        raise InputError("there is no validation query: the best epoch is chosen on some")
