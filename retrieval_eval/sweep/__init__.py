"""Sweeps: one file or object in, a folder of results out."""

from retrieval_eval.sweep.config import CompareSection, Sweep, load_sweep
from retrieval_eval.sweep.plan import make_plan
from retrieval_eval.sweep.preview import Preview
from retrieval_eval.sweep.results import Results, open_results
from retrieval_eval.sweep.run import run_sweep
from retrieval_eval.timing import TimingOptions

__all__ = [
    "CompareSection",
    "Preview",
    "Results",
    "Sweep",
    "TimingOptions",
    "load_sweep",
    "make_plan",
    "open_results",
    "run_sweep",
]
