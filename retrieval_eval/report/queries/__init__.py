"""Single queries of a finished sweep: which moved, by which documents, and whose doing that was."""

from retrieval_eval.report.queries.drilldown import DrillDown, drill_down
from retrieval_eval.report.queries.sources import Source, load_sources

__all__ = ["DrillDown", "Source", "drill_down", "load_sources"]
