"""Six systems over the 18 sets of BEIR, as published: mean and Borda give one order."""

from __future__ import annotations

import numpy as np

from retrieval_eval.comparison.orders.aggregation import average_ranks, borda, kemeny

# nDCG@10 as Pyserini's reproductions list it (pyserini/2cr/beir.yaml). CQADupStack counts once, as
# the mean of its twelve forums.
SYSTEMS = (
    "BM25 flat",
    "BM25 multifield",
    "SPLADE++ED",
    "Contriever",
    "Contriever-MSMARCO",
    "BGE-base",
)
SETS = {
    "trec-covid": (0.5947, 0.6559, 0.7274, 0.2732, 0.5964, 0.7815),
    "bioasq": (0.5225, 0.4646, 0.4980, 0.3016, 0.3829, 0.4148),
    "nfcorpus": (0.3218, 0.3254, 0.3470, 0.3173, 0.3281, 0.3735),
    "nq": (0.3055, 0.3285, 0.5378, 0.2536, 0.4977, 0.5414),
    "hotpotqa": (0.6330, 0.6027, 0.6868, 0.4807, 0.6376, 0.7259),
    "fiqa": (0.2361, 0.2361, 0.3475, 0.2449, 0.3293, 0.4065),
    "signal1m": (0.3304, 0.3304, 0.3008, 0.2338, 0.2783, 0.2886),
    "trec-news": (0.3952, 0.3977, 0.4152, 0.3484, 0.4283, 0.4424),
    "robust04": (0.4070, 0.4070, 0.4679, 0.3155, 0.4729, 0.4435),
    "arguana": (0.3970, 0.4142, 0.5203, 0.3791, 0.4461, 0.6362),
    "webis-touche2020": (0.4422, 0.3673, 0.2468, 0.1668, 0.2040, 0.2571),
    "quora": (0.7886, 0.7886, 0.8343, 0.8349, 0.8648, 0.8890),
    "dbpedia-entity": (0.3180, 0.3128, 0.4366, 0.2916, 0.4128, 0.4073),
    "scidocs": (0.1490, 0.1581, 0.1591, 0.1491, 0.1652, 0.2172),
    "fever": (0.6513, 0.7530, 0.7882, 0.6821, 0.7583, 0.8629),
    "climate-fever": (0.1651, 0.2129, 0.2297, 0.1550, 0.2371, 0.3122),
    "scifact": (0.6789, 0.6647, 0.7041, 0.6493, 0.6768, 0.7408),
}
FORUMS = {
    "android": (0.3801, 0.3709, 0.3904, 0.3771, 0.4255, 0.5076),
    "english": (0.3453, 0.3321, 0.4079, 0.3571, 0.4326, 0.4857),
    "gaming": (0.4822, 0.4418, 0.4957, 0.4597, 0.5276, 0.5967),
    "gis": (0.2901, 0.2904, 0.3150, 0.2411, 0.3022, 0.4127),
    "mathematica": (0.2015, 0.2046, 0.2377, 0.1841, 0.2355, 0.3163),
    "physics": (0.3214, 0.3248, 0.3599, 0.3430, 0.4159, 0.4724),
    "programmers": (0.2802, 0.2963, 0.3401, 0.3029, 0.3574, 0.4238),
    "stats": (0.2711, 0.2790, 0.2990, 0.2483, 0.3095, 0.3732),
    "tex": (0.2244, 0.2086, 0.2530, 0.1540, 0.2209, 0.3115),
    "unix": (0.2749, 0.2788, 0.3167, 0.2636, 0.3257, 0.4220),
    "webmasters": (0.3059, 0.3008, 0.3167, 0.2878, 0.3392, 0.4072),
    "wordpress": (0.2483, 0.2562, 0.2733, 0.1914, 0.2532, 0.3547),
}
MEANS = np.array([*SETS.values(), np.mean(list(FORUMS.values()), axis=0)])
ORDER = [
    "BGE-base",
    "SPLADE++ED",
    "Contriever-MSMARCO",
    "BM25 multifield",
    "BM25 flat",
    "Contriever",
]


def in_order(places: np.ndarray) -> list[str]:
    return [SYSTEMS[row] for row in np.argsort(places, kind="stable")]


def test_mean_and_borda_order_six_systems_over_beir_as_published() -> None:
    assert MEANS.shape == (18, 6)
    assert in_order(average_ranks(MEANS.mean(axis=0))) == ORDER
    sums = borda(MEANS)
    assert len(set(sums.tolist())) == 6
    assert in_order(sums) == ORDER


def test_kemeny_agrees_with_them_there() -> None:
    assert in_order(kemeny(MEANS)) == ORDER
