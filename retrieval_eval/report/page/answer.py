"""The first screen: what the sweep answers, or that it answers nothing, and why."""

from __future__ import annotations

from retrieval_eval.report.answer import Answer
from retrieval_eval.report.claims import Claim
from retrieval_eval.report.page.document import Section

__all__ = ["answer_section"]


def answer_section(found: Answer) -> Section:
    """Return the section that says which configuration is good enough.

    Parameters
    ----------
    found : Answer
        From :func:`retrieval_eval.report.answer.answer`.
    """
    return Section(
        "answer",
        "Answer",
        {
            "claims": [_shown(one) for one in found.claims],
            "conditions": found.conditions,
            "holds": found.holds,
            "measure": found.measure,
        },
    )


def _shown(claim: Claim) -> dict[str, object]:
    return {
        "title": claim.title,
        "holds": claim.holds,
        "headline": claim.headline,
        "evidence": claim.evidence,
        "note": claim.note,
        "row_id": claim.row_id,
        "factors": [
            {"name": one.name, "figures": one.figures, "brief": one.brief, "noisy": one.noisy}
            for one in claim.factors
        ],
    }
