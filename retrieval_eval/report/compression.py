"""What compressed vectors lose against exact search, at equal bytes, and how few are enough."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrieval_eval.errors import InputError
from retrieval_eval.indexes.equal_bytes import Compressed

if TYPE_CHECKING:
    from retrieval_eval.sweep import Results

__all__ = ["CompressedResult", "compressed_results", "fewest_bytes"]


@dataclass(frozen=True)
class CompressedResult:
    """One way to keep vectors, against the reference of its sweep.

    Parameters
    ----------
    dataset, encoder : str
        Where it was run.
    way : Compressed
        How vectors are kept.
    score, low, high : float
        Mean of the measure, and its 95 % interval.
    difference, difference_low, difference_high : float
        Mean of it minus the reference, query by query, and its 95 % interval.
    within : bool or None
        Whether it is shown to lose less than the sweep's margin; None if there is no margin.
    neighbour_recall : float or None
        Share of the true neighbours that were found, if the sweep asks for it.
    size_bytes : int
        The whole index, with all that is kept once, and the full vectors where it is refined.
    """

    dataset: str
    encoder: str
    way: Compressed
    score: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    within: bool | None
    neighbour_recall: float | None
    size_bytes: int

    @property
    def mean(self) -> str:
        """Score and interval, as tables show them."""
        return f"{self.score:.4f} [{self.low:.4f}, {self.high:.4f}]"

    @property
    def loss(self) -> str:
        """Difference and interval, as tables show them."""
        return f"{self.difference:+.4f} [{self.difference_low:+.4f}, {self.difference_high:+.4f}]"


def compressed_results(
    results: Results, ways: Iterable[Compressed], measure: str
) -> list[CompressedResult]:
    """Read from a sweep what each way to keep vectors loses.

    Parameters
    ----------
    results : Results
        Of a sweep over ``flat`` and the entries of `ways`, each compared with ``flat``.
    ways : iterable of Compressed
        From :func:`retrieval_eval.indexes.equal_bytes.compressed_indexes`.
    measure : str
        A measure of the sweep.

    Returns
    -------
    list of CompressedResult
        In the order of the rows; those that failed are left out.

    Raises
    ------
    InputError
        If nothing was compared by the measure.
    """
    by_label = {one.label: one for one in ways}
    compared = {
        one["candidate_row_id"]: one
        for one in results.comparisons.to_dicts()
        if one["measure"] == measure and one["question"] == "index"
    }
    if not compared:
        raise InputError(f"no row was compared with a reference by {measure}")
    recall = next((one for one in results.rows.columns if one.startswith("neighbour_recall@")), "")
    return [
        CompressedResult(
            row["dataset"],
            row["encoder"],
            by_label[row["index"]],
            score=row[measure],
            low=row[f"{measure}_lo"],
            high=row[f"{measure}_hi"],
            difference=one["difference"],
            difference_low=one["difference_lo"],
            difference_high=one["difference_hi"],
            within=one["noninferior"],
            neighbour_recall=row.get(recall),
            size_bytes=row["size_bytes"],
        )
        for row in results.rows.to_dicts()
        if row["index"] in by_label and (one := compared.get(row["row_id"])) is not None
    ]


def fewest_bytes(
    found: Sequence[CompressedResult],
) -> dict[tuple[str, str, str, bool], CompressedResult | None]:
    """Find the fewest bytes with which each method is shown to lose less than the margin.

    Returns
    -------
    dict
        By dataset, encoder, method, and whether it is refined; None where no bytes were enough.
        That one passes is corrected for all rows of the sweep, so it may be picked among them.
    """
    fewest: dict[tuple[str, str, str, bool], CompressedResult | None] = {}
    for one in found:
        key = (one.dataset, one.encoder, one.way.method, one.way.refined)
        best = fewest.setdefault(key, None)
        if one.within and (best is None or one.way.bytes < best.way.bytes):
            fewest[key] = one
    return fewest
