"""What changed between sweeps: rows, quality, costs, and what they were run with."""

from retrieval_eval.report.changes.beside import changes, side_by_side
from retrieval_eval.report.changes.rows import Changes

__all__ = ["Changes", "changes", "side_by_side"]
