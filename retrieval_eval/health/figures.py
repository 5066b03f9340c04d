"""The figures, what each means, and what they say in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["FIGURES", "QUERY_FIGURES", "EmbeddingHealth"]

_RANKME = "Garrido et al. 2023"
_HUBS = "Radovanovic et al. 2010"
_CONE = "Ethayarajh 2019"
_GAP = "Liang et al. 2022"


def _means(text: str) -> Mapping[str, str]:
    return {"means": text}


@dataclass(frozen=True)
class EmbeddingHealth:
    """Figures of one set of embeddings; :data:`FIGURES` says what each field means.

    A figure that could not be measured is None, and ``reasons`` says why. Shares are between 0 and
    1. Zero vectors, of norm 0, are left out of all that follows ``n_zero`` except norms, dead
    dimensions and exact duplicates; likewise those among the queries.
    """

    n_documents: int = field(metadata=_means("documents"))
    n_dimensions: int = field(metadata=_means("dimensions of a vector"))
    n_queries: int | None = field(metadata=_means("queries; none were given if unmeasured"))
    n_zero: int = field(metadata=_means("documents of norm 0, which have no cosine"))
    n_zero_queries: int | None = field(metadata=_means("queries of norm 0"))

    norm_min: float = field(metadata=_means("shortest document, Euclidean norm; all documents"))
    norm_p01: float = field(metadata=_means("1st percentile of the norms; all documents"))
    norm_median: float = field(metadata=_means("median norm; all documents"))
    norm_p99: float = field(metadata=_means("99th percentile of the norms; all documents"))
    norm_max: float = field(metadata=_means("longest document; all documents"))
    norm_cv: float | None = field(
        metadata=_means("standard deviation of the norms over their mean; all documents")
    )
    unit_length_share: float = field(
        metadata=_means("share of all documents whose norm is within 0.001 of 1")
    )

    dead_dimensions: int | None = field(
        metadata=_means(
            "dimensions with a range of at most a millionth of the widest one's; all documents"
        )
    )
    exact_duplicate_share: float | None = field(
        metadata=_means("share of all documents that equal another one, number by number")
    )

    mean_cosine: float | None = field(
        metadata=_means(f"mean cosine over all pairs of documents, anisotropy ({_CONE}); exact")
    )
    mean_vector_length: float | None = field(
        metadata=_means("length of the mean of all normalised documents, from 0 to 1")
    )

    n_spectrum: int = field(
        metadata=_means("documents drawn for the next four figures, 25,600 at most")
    )
    rankme: float | None = field(
        metadata=_means(f"effective rank, in dimensions: RankMe ({_RANKME}); n_spectrum documents")
    )
    first_component_share: float | None = field(
        metadata=_means("share of the variance along the first principal component")
    )
    components_99: int | None = field(
        metadata=_means("principal components that hold 99 % of the variance")
    )
    top_dimension_share: float | None = field(
        metadata=_means("share of the variance in the one dimension that has most of it")
    )

    n_searched: int = field(
        metadata=_means("documents drawn for the next four figures, and searched among all")
    )
    nearest_cosine_median: float | None = field(
        metadata=_means("median cosine of a document with the nearest other one")
    )
    near_duplicate_share: float | None = field(
        metadata=_means("share of documents with another at a cosine of duplicate_cosine or more")
    )
    lid_median: float | None = field(
        metadata=_means(
            "median local intrinsic dimensionality, under cosine (Levina & Bickel 2004; "
            "Amsaleg et al. 2015)"
        )
    )
    lid_mean: float | None = field(metadata=_means("mean of the same"))
    n_lid: int = field(
        metadata=_means("searched documents whose dimensionality is a finite number")
    )
    lid_k: int | None = field(metadata=_means("neighbours that it is estimated from"))

    n_subcorpus: int = field(
        metadata=_means("documents drawn to search among themselves for hubs, 10,000 at most")
    )
    hubness_skewness: float | None = field(
        metadata=_means(
            "skewness of the k-occurrence: of how many of the sub-corpus' lists of k neighbours, "
            f"by cosine, a document is in ({_HUBS})"
        )
    )
    antihub_share: float | None = field(
        metadata=_means(f"share of the sub-corpus that is in no list ({_HUBS})")
    )
    top_hub_share: float | None = field(
        metadata=_means("share of the lists that the most frequent document is in")
    )

    n_queries_searched: int | None = field(
        metadata=_means("queries drawn, and searched among all documents")
    )
    query_nearest_cosine_median: float | None = field(
        metadata=_means("median cosine of a query with the nearest document; n_queries_searched")
    )
    n_query_lists: int | None = field(
        metadata=_means("queries drawn, 10,000 at most, and searched among the sub-corpus for hubs")
    )
    query_hubness_skewness: float | None = field(
        metadata=_means("hubness_skewness of the sub-corpus in the lists of queries")
    )
    query_antihub_share: float | None = field(
        metadata=_means("antihub_share in the lists of queries")
    )
    query_top_hub_share: float | None = field(
        metadata=_means("top_hub_share in the lists of queries")
    )
    centroid_cosine: float | None = field(
        metadata=_means("cosine between the means of the normalised documents and queries; all")
    )
    centroid_distance: float | None = field(
        metadata=_means(f"Euclidean distance of these means, the modality gap ({_GAP}); all")
    )

    k: int = field(metadata=_means("option: neighbours in a list, for hubs"))
    duplicate_cosine: float = field(metadata=_means("option: cosine from which two are near"))
    sample: int = field(metadata=_means("option: documents, and queries, to search among all"))
    seed: int = field(metadata=_means("option: seed of what is drawn"))

    reasons: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, int | float | None]:
        """Return all figures by name, plain numbers, in the order of :data:`FIGURES`.

        Returns
        -------
        dict of str to int, float or None
            Without the reasons.
        """
        return {name: getattr(self, name) for name in FIGURES}

    def notes(self) -> list[str]:
        """Tell in sentences what is worth a look; nobody says that it is wrong.

        Returns
        -------
        list of str
            Sentences, none if nothing stands out. docs/health.md has the thresholds.
        """
        found = [
            _zeros(self.n_zero, self.n_documents, "documents"),
            _zeros(self.n_zero_queries or 0, self.n_queries or 0, "queries"),
            _if(
                self.norm_max - self.norm_min > 0.002 * self.norm_max,
                f"vectors are of different lengths, {self.norm_min:.4g} to {self.norm_max:.4g}: "
                "cosine, inner product and Euclidean distance rank differently",
            ),
            _if(
                self.dead_dimensions,
                f"{self.dead_dimensions} of {self.n_dimensions} dimensions have the same value in "
                "all documents, to a millionth",
            ),
            _if(
                self.exact_duplicate_share,
                f"{_percent(self.exact_duplicate_share)} of the documents have an exact duplicate",
            ),
            self._near(),
            _if(
                self.components_99 is not None and 2 * self.components_99 <= self._attainable(),
                f"99 % of the variance lies in {self.components_99} of {self.n_dimensions} "
                "dimensions, the first principal components",
            ),
            _if(
                (self.top_dimension_share or 0) >= max(0.1, 10 / self.n_dimensions),
                f"one of {self.n_dimensions} dimensions holds "
                f"{_percent(self.top_dimension_share)} of the variance",
            ),
            _if(
                (self.mean_cosine or 0) >= 0.5,
                f"two documents drawn at random have a cosine of {self.mean_cosine or 0:.2f} on "
                "average: all lie in a narrow cone",
            ),
            *self._hubs(),
        ]
        return [sentence for sentence in found if sentence]

    def _attainable(self) -> int:
        """Return how many components there can be: not more than centred vectors span."""
        return min(self.n_dimensions, self.n_spectrum - 1)

    def _near(self) -> str:
        drawn = "" if self.n_searched == self.n_documents - self.n_zero else ", estimated"
        return _if(
            (self.near_duplicate_share or 0) > (self.exact_duplicate_share or 0),
            f"{_percent(self.near_duplicate_share)} of the documents have another at a cosine of "
            f"{self.duplicate_cosine:g} or more{drawn} from {self.n_searched}",
        )

    def _hubs(self) -> list[str]:
        return [
            _if(
                (self.antihub_share or 0) >= 0.1,
                f"{_percent(self.antihub_share)} of {self.n_subcorpus} documents are among the "
                f"{self.k} nearest of no other",
            ),
            _if(
                (self.top_hub_share or 0) >= 0.05,
                f"one document is among the {self.k} nearest of {_percent(self.top_hub_share)} of "
                f"{self.n_subcorpus - 1} others",
            ),
            _if(
                (self.query_top_hub_share or 0) >= 0.2 and (self.n_query_lists or 0) >= 50,
                f"one document of {self.n_subcorpus} is among the {self.k} nearest of "
                f"{_percent(self.query_top_hub_share)} of the queries",
            ),
        ]


FIGURES: Mapping[str, str] = {
    one.name: one.metadata["means"] for one in fields(EmbeddingHealth) if one.name != "reasons"
}
"""What each name in :meth:`EmbeddingHealth.as_dict` means: a line with unit, basis and source."""

QUERY_FIGURES = (
    "n_queries",
    "n_zero_queries",
    "n_queries_searched",
    "query_nearest_cosine_median",
    "n_query_lists",
    "query_hubness_skewness",
    "query_antihub_share",
    "query_top_hub_share",
    "centroid_cosine",
    "centroid_distance",
)
"""Those that are None where no queries are given."""


def _if(condition: Any, sentence: str) -> str:
    return sentence if condition else ""


def _percent(share: float | None) -> str:
    return f"{100 * (share or 0):.3g} %"


def _zeros(count: int, total: int, noun: str) -> str:
    return _if(
        count,
        f"{count} of {total} {noun} have norm 0, and no cosine with anything: they are left out of "
        "most figures",
    )
