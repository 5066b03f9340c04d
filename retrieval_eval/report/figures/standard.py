"""The figures that say most of a sweep, by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from retrieval_eval.errors import InputError
from retrieval_eval.report.figures.curves import parameter_curves, varying_parameters
from retrieval_eval.report.figures.looks import Figure
from retrieval_eval.report.figures.pairs import p_matrix
from retrieval_eval.report.figures.points import recall_against_quality, tradeoff

if TYPE_CHECKING:
    import polars as pl

    from retrieval_eval.report.groups import FinishedSweep

__all__ = ["COSTS", "drawable_curves", "standard_figures"]

COSTS = ("latency_p95_s", "qps", "size_bytes", "peak_rss_bytes", "build_s")


def standard_figures(
    results: FinishedSweep, *, measure: str | None = None, theme: str = "light"
) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of a sweep: only those for which something was measured.

    Quality against each cost, neighbour recall against quality, what each parameter that varies
    does to quality and to latency, and what was compared.

    Parameters
    ----------
    results : FinishedSweep
        The tables of a finished sweep.
    measure : str, optional
        The quality; the sweep's first measure by default.
    theme : {'light', 'dark', 'print'}
        How they look.

    Yields
    ------
    name : str
        Fit for a file.
    figure : dict
        As the functions of this package make it.
    """
    rows = results.rows
    quality = measure or str(results.manifest["sweep"]["measures"][0])
    measured = [name for name in COSTS if rows[name].is_not_null().any()]
    for cost in measured:
        yield f"tradeoff-{cost}", tradeoff(rows, quality, cost, theme=theme)
    recall = f"neighbour_recall@{results.manifest['sweep']['neighbour_recall']}"
    if rows[recall].is_not_null().any():
        yield "recall-against-quality", recall_against_quality(rows, quality, theme=theme)
    for parameter, column, figure in drawable_curves(rows, (quality, *measured[:1]), theme=theme):
        yield f"curve-{parameter}-{column}".replace("@", "-at-"), figure
    compared = results.comparisons.filter(results.comparisons["measure"] == quality)
    for number, dataset in enumerate(compared["dataset"].unique(maintain_order=True)):
        yield f"differences-{number + 1}", p_matrix(compared, dataset, quality, theme=theme)


def drawable_curves(
    rows: pl.DataFrame, columns: Sequence[str], *, theme: str = "light"
) -> Iterator[tuple[str, str, Figure]]:
    """Yield parameter, column and figure for each parameter that varies and can be drawn.

    A parameter without numbers has no curve, nor one whose rows lack the column or are too many.

    Parameters
    ----------
    rows : polars.DataFrame
        ``results.parquet``.
    columns : sequence of str
        Measures and costs.
    theme : {'light', 'dark', 'print'}
        How they look.
    """
    for parameter in varying_parameters(rows):
        for column in columns:
            try:
                yield parameter, column, parameter_curves(rows, parameter, column, theme=theme)
            except InputError:
                continue
