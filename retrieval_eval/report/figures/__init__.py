"""Figures of a sweep, as Vega-Lite specifications, and as SVG, PNG and PDF without a browser."""

from retrieval_eval.report.figures.curves import parameter_curves, varying_parameters
from retrieval_eval.report.figures.looks import Figure
from retrieval_eval.report.figures.pairs import p_matrix
from retrieval_eval.report.figures.points import recall_against_quality, tradeoff
from retrieval_eval.report.figures.queries import differences
from retrieval_eval.report.figures.saving import FORMATS, save
from retrieval_eval.report.figures.standard import standard_figures

__all__ = [
    "FORMATS",
    "Figure",
    "differences",
    "p_matrix",
    "parameter_curves",
    "recall_against_quality",
    "save",
    "standard_figures",
    "tradeoff",
    "varying_parameters",
]
