"""Filtered search, a filter for each query: filters of a given share, searching, scoring.

What a filter costs depends on how many documents pass, and on whether these lie where the query
does (Iff et al. 2025, Benchmarking filtered approximate nearest neighbor search). The second needs
filters made for each query, and so a search for each.
"""

from retrieval_eval.filtered.masks import (
    Mask,
    filter_correlation,
    filters_by_similarity,
    filters_of_document,
    mask_of_share,
)
from retrieval_eval.filtered.ways import (
    EachSearched,
    FilteredWay,
    compare_ways,
    fastest_way,
    filtered_recall,
    filtered_scores,
    search_each,
)

__all__ = [
    "EachSearched",
    "FilteredWay",
    "Mask",
    "compare_ways",
    "fastest_way",
    "filter_correlation",
    "filtered_recall",
    "filtered_scores",
    "filters_by_similarity",
    "filters_of_document",
    "mask_of_share",
    "search_each",
]
