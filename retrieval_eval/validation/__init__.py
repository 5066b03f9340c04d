"""Validation of datasets: everything that is wrong, where it stands, and a repaired copy."""

from retrieval_eval.validation.findings import RULES, Example, Finding, Rule, Severity, Validation
from retrieval_eval.validation.near_duplicates import NearDuplicates, Shingles, near_duplicates
from retrieval_eval.validation.repair import DROPS, Drop, Repair, RepairedLine, repair
from retrieval_eval.validation.validate import folder_of, validate
from retrieval_eval.validation.wording import wording

__all__ = [
    "DROPS",
    "RULES",
    "Drop",
    "Example",
    "Finding",
    "NearDuplicates",
    "Repair",
    "RepairedLine",
    "Rule",
    "Severity",
    "Shingles",
    "Validation",
    "folder_of",
    "near_duplicates",
    "repair",
    "validate",
    "wording",
]
