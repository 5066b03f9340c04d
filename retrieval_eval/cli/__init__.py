"""The command line: one file for each verb. It only builds objects and calls the Python API."""

from retrieval_eval.cli import (
    cache,
    compare,
    evaluate,
    fuse,
    gate,
    health,
    listing,
    replay,
    report,
    robustness,
    run,
    schema,
    select,
    split,
    status,
    validate,
)
from retrieval_eval.cli.app import app, main

__all__ = [
    "app",
    "cache",
    "compare",
    "evaluate",
    "fuse",
    "gate",
    "health",
    "listing",
    "main",
    "replay",
    "report",
    "robustness",
    "run",
    "schema",
    "select",
    "split",
    "status",
    "validate",
]
