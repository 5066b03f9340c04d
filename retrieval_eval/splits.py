"""Parts of the queries: to choose a configuration on one, and report on another.

A configuration chosen on some queries looks better on them than it is. So queries are split once,
before anything is tuned: each query belongs to exactly one part, whatever the order of the file,
on every machine.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retrieval_eval.errors import InputError
from retrieval_eval.qrels import Qrels

__all__ = [
    "combine_strata",
    "split_qrels",
    "split_queries",
    "strata_by_relevant",
    "write_query_labels",
    "write_split",
]

_MILLION = 10**6
_HEADER = "query-id\tcorpus-id\tscore\n"


def split_queries(
    query_ids: Iterable[str],
    *,
    seed: int,
    parts: Sequence[str] = ("tune", "held-out"),
    shares: Sequence[float] = (0.5, 0.5),
    strata: Mapping[str, str] | None = None,
) -> dict[str, tuple[str, ...]]:
    """Split queries at random, the same way every time.

    In each stratum the queries are ordered by a hash of seed and id, and each part takes its share
    from the head of what is left. What rounding takes from one stratum it gives to another.

    Parameters
    ----------
    query_ids : iterable of str
        All different; their order does not matter.
    seed : int
        Another seed, another split.
    parts : sequence of str
        Names of the parts, all different.
    shares : sequence of float
        What of the queries each part gets: above 0, and 1 together.
    strata : mapping of str to str, optional
        A label for each query, as from :func:`strata_by_relevant` or
        :func:`retrieval_eval.nearness.near_and_far`. Labels of further queries are passed over.

    Returns
    -------
    dict of str to tuple of str
        The queries of each part, ascending by id: each query in exactly one part. Of the whole, a
        part has its share to less than 1 query; of each stratum to 1 query, with more than two
        parts to 2.

    Raises
    ------
    InputError
        If an id comes twice or has no label, names and shares do not fit, or a part would be empty.

    Notes
    -----
    A query that is added or taken away moves at most one other (with strata, one of each stratum)
    across the border of two parts, all others stay where they are. Between three parts or more it
    may be a few.

    Examples
    --------
    >>> split_queries(["q1", "q2", "q3", "q4"], seed=0)
    {'tune': ('q2', 'q4'), 'held-out': ('q1', 'q3')}
    """
    ids = list(query_ids)
    _check_parts(ids, parts, shares)
    labels = strata or {}
    if strata is not None:
        missing = next((one for one in ids if one not in labels), None)
        if missing is not None:
            raise InputError(f"query {missing!r} has no label among the strata: give one to each")
    members: dict[str, list[str]] = {}
    for one in ids:
        members.setdefault(labels.get(one, ""), []).append(one)
    ordered = [
        sorted(members[label], key=lambda one: (_hash(seed, "query", one), one))
        for label in sorted(members, key=lambda label: _hash(seed, "stratum", label))
    ]
    made = {}
    left = 1.0
    for name, share in zip(parts, shares, strict=True):
        made[name], ordered = _cut(ordered, min(share / left, 1.0))
        left -= share
    empty = next((name for name, chosen in made.items() if not chosen), None)
    if empty is not None:
        raise InputError(
            f"part {empty!r} gets none of the {len(ids)} queries: give it a larger share"
        )
    return {name: tuple(sorted(chosen)) for name, chosen in made.items()}


def _cut(strata: Sequence[list[str]], share: float) -> tuple[list[str], list[list[str]]]:
    """Take a share from the head of each stratum, and return what is left of them."""
    taken: list[str] = []
    rest = []
    before = 0
    for members in strata:
        after = before + len(members)
        count = _rounded(share * after) - _rounded(share * before)
        taken += members[:count]
        rest.append(members[count:])
        before = after
    return taken, rest


def _rounded(value: float) -> int:
    # Shares such as 0.1 / 0.3 lie a little beside what they mean.
    return math.floor(value + 0.5 + 1e-9)


def _hash(seed: int, kind: str, text: str) -> bytes:
    content = json.dumps([seed, kind, text]).encode()  # hash() differs from process to process
    return hashlib.blake2b(content, digest_size=16).digest()


def _check_parts(ids: Sequence[str], parts: Sequence[str], shares: Sequence[float]) -> None:
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        again = next(one for one in ids if one in seen or seen.add(one))  # type: ignore[func-returns-value]
        raise InputError(f"query {again!r} comes twice: each query belongs to one part")
    if len(parts) != len(shares) or not parts:
        raise InputError(f"{len(parts)} parts and {len(shares)} shares: give one share to each")
    if len(set(parts)) != len(parts) or not all(parts):
        raise InputError(f"parts must have different names, got {', '.join(map(repr, parts))}")
    if not all(share > 0 for share in shares) or abs(sum(shares) - 1) > 1e-9:
        listed = ", ".join(f"{share:g}" for share in shares)
        raise InputError(f"shares must be above 0, and 1 together, got {listed}")


def split_qrels(qrels: Qrels, parts: Mapping[str, Iterable[str]]) -> dict[str, Qrels]:
    """Return the judgments of each part.

    Parameters
    ----------
    qrels : Qrels
        All judgments.
    parts : mapping of str to iterable of str
        From :func:`split_queries`.

    Raises
    ------
    InputError
        If a part has no judgment.

    Examples
    --------
    >>> qrels = Qrels.from_mapping({"q1": {"d1": 1}, "q2": {"d2": 1}})
    >>> parts = split_queries(qrels.query_ids, seed=0)
    >>> {name: one.mapping for name, one in split_qrels(qrels, parts).items()}
    {'tune': {'q2': {'d2': 1}}, 'held-out': {'q1': {'d1': 1}}}
    """
    return {name: qrels.only_queries(chosen) for name, chosen in parts.items()}


def strata_by_relevant(qrels: Qrels, relevance_level: int = 1) -> dict[str, str]:
    """Label queries by their number of relevant documents: 0, 1, 2, 3-4, 5-8, 9-16 and so on.

    Parameters
    ----------
    qrels : Qrels
        The judgments.
    relevance_level : int
        Grade from which a document is relevant.

    Examples
    --------
    >>> qrels = Qrels.from_mapping({"q1": {"d1": 1, "d2": 2, "d3": 1}, "q2": {"d1": 0}})
    >>> strata_by_relevant(qrels)
    {'q1': '3-4 relevant', 'q2': '0 relevant'}
    """
    relevant = np.bincount(
        qrels.query, weights=qrels.grade >= relevance_level, minlength=len(qrels.query_ids)
    )
    labels = {}
    for query, count in zip(qrels.query_ids, relevant.astype(int).tolist(), strict=True):
        high = 1 << (count - 1).bit_length() if count > 2 else count
        shown = f"{high // 2 + 1}-{high}" if count > 2 else f"{count}"
        labels[query] = f"{shown} relevant"
    return labels


def combine_strata(*strata: Mapping[str, str]) -> dict[str, str]:
    """Return one label for each query that all of several mappings label.

    Examples
    --------
    >>> combine_strata({"q1": "near", "q2": "far"}, {"q1": "1 relevant"})
    {'q1': 'near, 1 relevant'}
    """
    first, *rest = strata
    return {
        query: ", ".join([label, *(one[query] for one in rest)])
        for query, label in first.items()
        if all(query in one for one in rest)
    }


def write_query_labels(path: str | Path, attributes: Mapping[str, Mapping[str, Any]]) -> None:
    """Write attributes of queries, for ``robustness --slices FILE --column NAME``.

    Parameters
    ----------
    path : str or Path
        A new file of JSON lines: ``_id``, then the attributes.
    attributes : mapping of str to mapping
        Plain values by name, for each query.

    Raises
    ------
    InputError
        If the file is there already, or cannot be written.
    """
    lines = (
        json.dumps({"_id": query, **values}, ensure_ascii=False) + "\n"
        for query, values in attributes.items()
    )
    _write_new(Path(path), lines)


def write_split(folder: str | Path, parts: Mapping[str, Qrels]) -> dict[str, Path]:
    """Write the judgments of each part as a split of a folder in BEIR's layout.

    Parameters
    ----------
    folder : str or Path
        Where ``PART.tsv`` is written: the folder ``qrels``, mostly. It is made if it is not there.
    parts : mapping of str to Qrels
        From :func:`split_qrels`.

    Returns
    -------
    dict of str to Path
        The files.

    Raises
    ------
    InputError
        If one of the files is there already, plain or packed, or a name cannot be a file's.
    """
    target = Path(folder)
    for name in parts:
        if not name or Path(name).name != name or name == "..":
            raise InputError(f"the part {name!r} cannot be the name of a file")
        there = next((one for one in sorted(target.glob("*")) if one.name in _taken(name)), None)
        if there is not None:
            raise InputError(
                f"{there}: is there already, and is not replaced: choose another folder"
            )
    paths = {}
    for name, qrels in parts.items():
        paths[name] = target / f"{name}.tsv"
        rows = qrels.to_frame().iter_rows()
        _write_new(paths[name], [_HEADER, *(f"{q}\t{d}\t{grade}\n" for q, d, grade in rows)])
    return paths


def _taken(name: str) -> set[str]:
    return {f"{name}.tsv{suffix}" for suffix in ("", ".gz", ".zst")}


def _write_new(path: Path, lines: Iterable[str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as stream:
            stream.writelines(lines)
    except FileExistsError:
        raise InputError(f"{path}: is there already, and is not replaced") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
