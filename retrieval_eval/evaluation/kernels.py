"""The measures, computed for all queries at once from the judged documents that a run returned.

With ``ties='expected'`` each is its expected value over all orders of documents with equal scores:
McSherry & Najork 2008, *Computing information retrieval performance measures efficiently in the
presence of tied scores*, and the same idea where they give no formula. Where a measure adds up a
weight of the rank over some documents, a document in a tie takes the mean weight of its stretch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.evaluation.measures import Measure
from retrieval_eval.evaluation.pairing import Judgments, Pairing

__all__ = ["KERNELS", "compute"]

Floats = NDArray[np.float64]
Weight = Callable[[NDArray[np.int64]], Floats]
"""A weight of each rank from 1 on."""


def compute(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    """Return the values of one measure for all judged queries; shape (n_queries,)."""
    if measure.spec.parameters.get("judged_only") and measure["judged_only"]:
        pairing = pairing.condensed
    return KERNELS[measure.name](measure, judgments, pairing)


def _over(top: Floats, bottom: NDArray[np.int64] | Floats | int) -> Floats:
    """Divide; 0 over nothing is 0."""
    bottom = np.asarray(bottom, dtype=np.float64)
    result: Floats = np.divide(top, bottom, out=np.zeros_like(top), where=bottom != 0)
    return result


def _deepest(pairing: Pairing) -> int:
    if pairing.ties is not None and len(pairing.query):
        return int((pairing.ties.before + pairing.ties.size).max())
    return int(pairing.rank.max(initial=0))


def _weights(pairing: Pairing, weight: Weight) -> Floats:
    """Weight of each document's rank, or the mean weight of its stretch of equal scores."""
    if pairing.ties is None:
        return weight(pairing.rank)
    total = np.append(0.0, np.cumsum(weight(np.arange(1, _deepest(pairing) + 1))))
    before, size = pairing.ties.before, pairing.ties.size
    mean: Floats = (total[before + size] - total[before]) / size
    return mean


def _up_to(cutoff: float | None) -> Weight:
    """Weight 1 up to a rank, 0 beyond."""
    return lambda rank: (rank <= (np.inf if cutoff is None else cutoff)).astype(np.float64)


def _discount(cutoff: float | None) -> Weight:
    return lambda rank: _up_to(cutoff)(rank) / np.log2(rank + 1.0)


def _gains(measure: Measure, grades: NDArray[np.int64]) -> Floats:
    gains = np.maximum(grades, 0).astype(np.float64)
    for grade, gain in measure["gains"] or ():
        gains[grades == grade] = gain
    if measure["dcg"] == "exp-log2":
        return np.exp2(gains) - 1
    return gains


def _dcg(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    return pairing.sums(
        _gains(measure, pairing.grade) * _weights(pairing, _discount(measure.cutoff))
    )


def _ndcg(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    return _over(_dcg(measure, judgments, pairing), _ideal_dcg(measure, judgments))


def _ideal_dcg(measure: Measure, judgments: Judgments) -> Floats:
    """DCG of all judged documents in order of their gains; kept with the judgments."""
    if measure not in judgments.ideals:
        query = judgments.qrels.query
        gains = _gains(measure, judgments.qrels.grade)
        order = np.lexsort((-gains, query))
        rank = np.arange(1, len(query) + 1) - judgments.qrels.edges[query]
        weights = gains[order] * _discount(measure.cutoff)(rank)
        ideal = np.bincount(query, weights=weights, minlength=judgments.n_queries)
        judgments.ideals[measure] = ideal.astype(np.float64)
    return judgments.ideals[measure]


def _found(measure: Measure, pairing: Pairing) -> Floats:
    """Relevant documents up to the cut-off."""
    relevant = pairing.relevant(measure["rel"])
    return relevant.sums(_weights(relevant, _up_to(measure.cutoff)))


def _precision(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    return _over(_found(measure, pairing), int(measure.cutoff or 0))


def _recall(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    return _over(_found(measure, pairing), judgments.relevant_counts(measure["rel"]))


def _capped_recall(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    counts = np.minimum(judgments.relevant_counts(measure["rel"]), int(measure.cutoff or 0))
    return _over(_found(measure, pairing), counts)


def _r_precision(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    counts = judgments.relevant_counts(measure["rel"])
    relevant = pairing.relevant(measure["rel"])
    limit = counts[relevant.query]
    if relevant.ties is None:
        return _over(relevant.sums((relevant.rank <= limit).astype(np.float64)), counts)
    room = np.clip(limit - relevant.ties.before, 0, relevant.ties.size)
    return _over(relevant.sums(room / relevant.ties.size), counts)


def _rank_biased_precision(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    p = float(measure["p"])
    relevant = pairing.relevant(measure["rel"])

    def weight(rank: NDArray[np.int64]) -> Floats:
        return _up_to(measure.cutoff)(rank) * (1 - p) * p ** (rank - 1.0)

    return relevant.sums(_weights(relevant, weight))


def _judged(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    seen = pairing.sums(_weights(pairing, _up_to(measure.cutoff)))
    limit = pairing.returned
    return _over(seen, limit if measure.cutoff is None else np.minimum(limit, measure.cutoff))


def _precision_at_relevant(measure: Measure, pairing: Pairing) -> Floats:
    """Sum of the precision at each relevant document up to the cut-off."""
    relevant = pairing.relevant(measure["rel"])
    cutoff = np.inf if measure.cutoff is None else measure.cutoff
    if relevant.ties is None:
        return relevant.sums(np.where(relevant.rank <= cutoff, relevant.place / relevant.rank, 0.0))
    # A stretch of t documents, c of them relevant, n relevant and s in all before it: each of its
    # places i holds a relevant one with probability c/t, and then (i-1)(c-1)/(t-1) others are
    # expected among the i-1 places before. Summed over i, with H the harmonic numbers.
    before, size = relevant.ties.before, relevant.ties.size
    first = np.ones(len(before), dtype=bool)
    first[1:] = (np.diff(relevant.query) > 0) | (np.diff(before) > 0)
    firsts = np.flatnonzero(first)
    c = np.diff(np.append(firsts, len(before))).astype(np.float64)
    s, t = before[firsts].astype(np.float64), size[firsts].astype(np.float64)
    n = relevant.place[firsts] - 1.0
    reached = np.clip(cutoff - s, 0, t)
    harmonic = np.append(0.0, np.cumsum(1.0 / np.arange(1, _deepest(relevant) + 1)))
    h = harmonic[(s + reached).astype(np.int64)] - harmonic[s.astype(np.int64)]
    others = np.divide(c - 1, t - 1, out=np.zeros_like(t), where=t > 1)
    total = c / t * ((n + 1) * h + others * (reached - (s + 1) * h))
    return np.bincount(relevant.query[firsts], weights=total, minlength=relevant.n_queries).astype(
        np.float64
    )


def _average_precision(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    counts = judgments.relevant_counts(measure["rel"])
    return _over(_precision_at_relevant(measure, pairing), counts)


def _capped_average_precision(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    counts = np.minimum(judgments.relevant_counts(measure["rel"]), int(measure.cutoff or 0))
    return _over(_precision_at_relevant(measure, pairing), counts)


def _first(measure: Measure, pairing: Pairing, weight: Weight) -> Floats:
    """Return the expected weight of the rank of the first relevant document."""
    relevant = pairing.relevant(measure["rel"])
    firsts = np.flatnonzero(relevant.place == 1)
    values = np.zeros(pairing.n_queries)
    if relevant.ties is None:
        values[relevant.query[firsts]] = weight(relevant.rank[firsts])
        return values
    # In a stretch of t documents, c of them relevant, the first relevant one stands at place i
    # with probability C(t-i, c-1) / C(t, c).
    s, t = relevant.ties.before[firsts], relevant.ties.size[firsts]
    same = relevant.ties.before == s[np.cumsum(relevant.place == 1) - 1]
    c = np.bincount(relevant.query[same], minlength=pairing.n_queries)[relevant.query[firsts]]
    chance = c / t
    total = np.zeros(len(firsts))
    for place in range(1, int(t.max(initial=0)) + 1):
        total += np.where(place <= t - c + 1, chance, 0.0) * weight(s + place)
        chance = chance * np.maximum(t - place - c + 1, 0) / np.maximum(t - place, 1)
    values[relevant.query[firsts]] = total
    return values


def _reciprocal_rank(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    return _first(measure, pairing, lambda rank: _up_to(measure.cutoff)(rank) / rank)


def _success(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    return _first(measure, pairing, _up_to(measure.cutoff))


def _sufficiency(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    relevant = pairing.relevant(measure["rel"])
    counts = judgments.relevant_counts(measure["rel"])
    complete = (counts > 0) & (relevant.sums() == counts)
    if relevant.ties is None:
        found: Floats = (complete & (_found(measure, pairing) == counts)).astype(np.float64)
        return found
    # The stretch that the cut-off falls into must have all its c relevant documents among the
    # first m of its t places: C(m, c) / C(t, c), one factor for each relevant document.
    before, size = relevant.ties.before, relevant.ties.size
    first = np.ones(len(before), dtype=bool)
    first[1:] = (np.diff(relevant.query) > 0) | (np.diff(before) > 0)
    firsts = np.flatnonzero(first)
    within = np.arange(len(before)) - np.repeat(firsts, np.diff(np.append(firsts, len(before))))
    room = np.clip(int(measure.cutoff or 0) - before, 0, size)
    factor = np.clip(room - within, 0, None) / (size - within)
    values = np.ones(pairing.n_queries)
    np.multiply.at(values, relevant.query, factor)
    return np.where(complete, values, 0.0)


def _bpref(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    level = measure["rel"]
    relevant_counts = judgments.relevant_counts(level)
    judged = pairing._pick(pairing.grade >= 0)
    is_relevant = judged.grade >= level
    relevant = judged.relevant(level)
    counts = relevant_counts[relevant.query]
    bottom = np.minimum(judgments.non_relevant_counts(level)[relevant.query], counts)
    # Non-relevant documents before each place, counted from the start of its query.
    running = np.append(0, np.cumsum(~is_relevant))
    starts = np.searchsorted(judged.query, relevant.query)
    if judged.ties is None:
        ahead = running[np.flatnonzero(is_relevant)] - running[starts]
        lost = np.minimum(ahead, counts) / np.maximum(bottom, 1)
        return _over(relevant.sums(1 - np.where(ahead > 0, lost, 0.0)), relevant_counts)
    # With m non-relevant ones in its stretch, 0 to m of them stand before it, equally likely.
    key = judged.query * (_deepest(judged) + 1) + judged.ties.before
    own = key[is_relevant]
    ahead = running[np.searchsorted(key, own)] - running[starts]
    m = running[np.searchsorted(key, own, side="right")] - running[np.searchsorted(key, own)]
    ahead = np.minimum(ahead, counts)
    more = np.clip(counts - ahead, 0, m)  # until the loss has reached its bound
    lost = (more + 1) * ahead + more * (more + 1) / 2 + (m - more) * counts
    return _over(relevant.sums(1 - lost / (m + 1) / np.maximum(bottom, 1)), relevant_counts)


def _interpolated_precision(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    relevant = pairing.relevant(measure["rel"])
    counts = judgments.relevant_counts(measure["rel"])
    # trec_eval rounds the number of documents that reach a recall level like this.
    needed = (float(measure.cutoff or 0) * counts + 0.9).astype(np.int64)
    precision = np.where(
        relevant.place >= needed[relevant.query], relevant.place / relevant.rank, 0
    )
    values = np.zeros(pairing.n_queries)
    np.maximum.at(values, relevant.query, precision)
    return values


def _expected_reciprocal_rank(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    max_rel = measure["max_rel"]
    judged = pairing.relevant(1)
    stop = (np.exp2(judged.grade) - 1) / 2.0**max_rel
    # The chance to come so far is a product over the documents before: a sum of logarithms.
    total = np.append(0.0, np.cumsum(np.log1p(-stop)))
    starts = np.searchsorted(judged.query, judged.query)
    arrive = np.exp(total[:-1] - total[starts])
    return judged.sums(_up_to(measure.cutoff)(judged.rank) * arrive * stop / judged.rank)


def _returned(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    if measure["rel"] is None:
        return pairing.returned.astype(np.float64)
    return pairing.relevant(measure["rel"]).sums()


def _relevant(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    return judgments.relevant_counts(measure["rel"]).astype(np.float64)


def _set_parts(measure: Measure, judgments: Judgments, pairing: Pairing) -> tuple[Floats, Floats]:
    found = pairing.relevant(measure["rel"]).sums()
    counts = judgments.relevant_counts(measure["rel"])
    return _over(found, pairing.returned), _over(found, counts)


def _set_precision(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    if not measure["relative"]:
        return _set_parts(measure, judgments, pairing)[0]
    found = pairing.relevant(measure["rel"]).sums()
    counts = judgments.relevant_counts(measure["rel"])
    return _over(found, np.minimum(counts, pairing.returned))


def _set_recall(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    return _set_parts(measure, judgments, pairing)[1]


def _set_f(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    precision, recall = _set_parts(measure, judgments, pairing)
    beta = float(measure["beta"])  # trec_eval does not square it
    return _over((beta + 1) * precision * recall, beta * precision + recall)


def _set_average_precision(measure: Measure, judgments: Judgments, pairing: Pairing) -> Floats:
    found = pairing.relevant(measure["rel"]).sums()
    counts = judgments.relevant_counts(measure["rel"])
    return _over(found * found, pairing.returned * counts)


KERNELS: dict[str, Callable[[Measure, Judgments, Pairing], Floats]] = {
    "nDCG": _ndcg,
    "DCG": _dcg,
    "RR": _reciprocal_rank,
    "R": _recall,
    "CappedR": _capped_recall,
    "P": _precision,
    "AP": _average_precision,
    "CappedAP": _capped_average_precision,
    "Success": _success,
    "Sufficiency": _sufficiency,
    "Rprec": _r_precision,
    "Bpref": _bpref,
    "IPrec": _interpolated_precision,
    "RBP": _rank_biased_precision,
    "ERR": _expected_reciprocal_rank,
    "Judged": _judged,
    "NumRet": _returned,
    "NumRel": _relevant,
    "SetP": _set_precision,
    "SetR": _set_recall,
    "SetF": _set_f,
    "SetAP": _set_average_precision,
}
