"""Parts of queries that share no near duplicate, so that what one teaches another does not ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from retrieval_eval.errors import InputError
from retrieval_eval.validation.near_duplicates import near_duplicates

__all__ = ["keep_apart"]


def keep_apart(
    parts: Mapping[str, Sequence[str]], texts: Mapping[str, str], *, threshold: float = 0.5
) -> dict[str, tuple[str, ...]]:
    """Leave out of each part what nearly repeats a query of a later part.

    Parameters
    ----------
    parts : mapping of str to sequence of str
        Ids of queries, as from :func:`retrieval_eval.splits.split_queries`. The last part, which
        is reported on, stays whole.
    texts : mapping of str to str
        The text of each query.
    threshold : float
        Jaccard similarity of runs of three words from which texts are near duplicates; see
        :func:`~retrieval_eval.validation.near_duplicates.near_duplicates`.

    Returns
    -------
    dict of str to tuple of str
        The parts, in their order.

    Raises
    ------
    InputError
        If a query has no text, or nothing of a part is left.

    Examples
    --------
    >>> texts = {"q1": "the wing of a plane", "q2": "a sail", "q3": "The wing of a plane."}
    >>> keep_apart({"train": ["q1", "q2"], "held-out": ["q3"]}, texts)
    {'train': ('q2',), 'held-out': ('q3',)}
    """
    missing = next((one for ids in parts.values() for one in ids if one not in texts), None)
    if missing is not None:
        raise InputError(f"query {missing!r} has no text, so no near duplicate of it can be found")
    kept: dict[str, tuple[str, ...]] = {}
    later: list[str] = []
    for name in reversed(list(parts)):
        mine = list(parts[name])
        if later:
            both = (texts[one] for one in (*later, *mine))
            found = near_duplicates(both, threshold=threshold, first=len(later))
            partner = found.partner[len(later) :]
            mine = [one for one, row in zip(mine, partner, strict=True) if row < 0]
        if not mine:
            raise InputError(f"every query of part {name!r} nearly repeats one of a later part")
        kept[name] = tuple(mine)
        later += mine
    return {name: kept[name] for name in parts}
