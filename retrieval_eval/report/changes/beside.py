"""What changed between sweeps: of two dates, two versions of a library, two machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import parse_measure
from retrieval_eval.report.changes.circumstances import causes_of, circumstances_of
from retrieval_eval.report.changes.costs import cost_changes
from retrieval_eval.report.changes.quality import (
    LARGEST,
    ScorePair,
    judge_pairs,
    pair_scores,
    scores_of,
)
from retrieval_eval.report.changes.rows import (
    Changes,
    LoneRow,
    QualityChange,
    RecallChange,
    RowChange,
    RowName,
    Side,
)
from retrieval_eval.report.groups import compare_options
from retrieval_eval.selection.tables import Tables, read_tables

if TYPE_CHECKING:
    import polars as pl

__all__ = ["SLOWER", "changes", "side_by_side"]

SLOWER = 1.25
"""By which factor timings have to differ, by default, to be called slower or faster."""

Record = Mapping[str, Any]


def changes(
    results_a: Tables,
    results_b: Tables,
    *,
    alpha: float | None = None,
    margin: float | Mapping[str, float] | None = None,
    slower: float = SLOWER,
    largest: float = LARGEST,
    threads: int | None = None,
) -> Changes:
    """Compare a sweep with an earlier one, row by row and query by query.

    A row is the same in both if dataset, filter, encoder label, index, all parameters and k are.
    Equal row ids say more: data, model and parameters are the very same, and only libraries,
    machines and time may differ. Where ids differ although the names are the same, what is known
    of the cause is said. Nothing is guessed: a row under another label is another row.

    Scores are compared where the judgments are the same, on the queries that both have, by the
    paired test of the first sweep; all rows and measures are one family, corrected by Holm.
    Differences are B minus A, ratios B over A. Neighbour recall and costs are not tested: a
    timing is called slower or faster from a factor of `slower` on, an index size larger or smaller
    from 1 % on, peak memory from 10 % on. Timings are judged only if both were measured on the same
    machine with the same number of threads, neither while other work ran, and builds took 0.1 s.

    Parameters
    ----------
    results_a, results_b : Results
        The earlier sweep and the later one.
    alpha : float, optional
        Level of the tests; by default the first sweep's.
    margin : float or mapping of str to float, optional
        Accepted loss of every measure, or of some; by default the first sweep's margins.
    slower : float
        Above 1.
    largest : float
        Draws x comparisons x queries up to which a test resamples; of more, t is used.
    threads : int, optional
        By default one for each processor; of no effect on the result.

    Returns
    -------
    Changes

    Raises
    ------
    InputError
        If a number is out of range, a margin names no measure of both, or a table is unusable.
    """
    (found,) = side_by_side(
        [results_a, results_b],
        alpha=alpha,
        margin=margin,
        slower=slower,
        largest=largest,
        threads=threads,
    )
    return found


def side_by_side(
    sweeps: Sequence[Tables],
    *,
    alpha: float | None = None,
    margin: float | Mapping[str, float] | None = None,
    slower: float = SLOWER,
    largest: float = LARGEST,
    threads: int | None = None,
) -> tuple[Changes, ...]:
    """Compare each of several sweeps with the first; all their tests are one family.

    Parameters
    ----------
    sweeps : sequence of Results
        Two or more; the first is A.
    alpha, margin, slower, largest, threads
        As for :func:`changes`.

    Returns
    -------
    tuple of Changes
        One for each sweep but the first.

    Raises
    ------
    InputError
        As :func:`changes`, and for fewer than two sweeps.
    """
    if len(sweeps) < 2:
        raise InputError(f"{len(sweeps)} sweep to compare: name two or more folders of results")
    if not slower > 1:
        raise InputError(f"slower is {slower}: it must be above 1, such as {SLOWER}")
    read = [_Sweep.of(one, place) for place, one in enumerate(sweeps)]
    options = compare_options(read[0].manifest)
    compared = (read[0].manifest.get("sweep") or {}).get("compare") or {}
    options = replace(
        options,
        alpha=options.alpha if alpha is None else alpha,
        margin_test=compared.get("margin_test", options.margin_test),
    )
    margins = _margins(compared.get("margin") or {}, margin, read)
    drafts = [_Draft.of(read[0], one) for one in read[1:]]
    judged = judge_pairs(
        [pair for draft in drafts for pair in draft.scores],
        replace(options, margins=margins),
        margins,
        largest=largest,
        threads=threads,
    )
    quality = iter(judged.quality)
    family = judged.family
    if len(drafts) > 1:
        family += f", of {len(drafts)} sweeps beside {read[0].side.letter}"
    return tuple(
        Changes(
            draft.a.side,
            draft.b.side,
            tuple(
                _row_change(draft, old, new, next(quality) if draft.done(old, new) else (), slower)
                for old, new in draft.pairs
            ),
            tuple(_lone(draft.only_a, draft.a, draft.only_b, draft.b)),
            tuple(_lone(draft.only_b, draft.b, draft.only_a, draft.a)),
            tuple(circumstances_of(draft.a.manifest, draft.b.manifest)),
            judged.options,
            judged.draws,
            family,
            slower,
            judged.notes,
        )
        for draft in drafts
    )


@dataclass(frozen=True, eq=False)
class _Sweep:
    """A sweep, read."""

    side: Side
    manifest: Mapping[str, Any]
    rows: list[dict[str, Any]]
    per_query: pl.DataFrame

    @classmethod
    def of(cls, results: Tables, place: int) -> _Sweep:
        tables = read_tables(results, None)
        manifest = tables.manifest
        letter = chr(ord("A") + place) if place < 26 else f"S{place + 1}"
        folder = getattr(results, "folder", "")
        side = Side(
            letter,
            str(manifest.get("name", "")),
            str(manifest.get("created", "")),
            str(folder),
            len(tables.rows),
        )
        return cls(side, manifest, tables.rows.to_dicts(), tables.per_query)

    @property
    def measures(self) -> list[str]:
        return [one for one in self.per_query.columns if one not in ("row_id", "query_id")]

    def setting(self, name: str) -> Any:
        return (self.manifest.get("sweep") or {}).get(name)

    def name_of(self, row: Record) -> RowName:
        index = row.get("index") or row["configuration"]
        place = row["dataset"], row["filter"], row["encoder"]
        return RowName(*place, index, row["configuration"], self.setting("k"))

    def key_of(self, row: Record) -> tuple[Any, ...]:
        """Return what makes a row the same; without parameters, what tables show of them."""
        name = self.name_of(row)
        known = row.get("build_params") is not None
        parameters = (
            [_sorted(row[one]) for one in ("build_params", "search_params")]
            if known
            else [name.configuration]
        )
        return (name.dataset, name.filter, name.encoder, name.index, name.k, known, *parameters)


@dataclass(frozen=True, eq=False)
class _Draft:
    """Two sweeps, with the rows of both found, but nothing tested."""

    a: _Sweep
    b: _Sweep
    pairs: list[tuple[Record, Record]]
    only_a: list[Record]
    only_b: list[Record]
    scores: list[ScorePair]
    measures: tuple[str, ...]

    @classmethod
    def of(cls, a: _Sweep, b: _Sweep) -> _Draft:
        pairs = list(_matched(a, b))
        paired = [{row[side]["row_id"] for row in pairs} for side in (0, 1)]
        measures = tuple(one for one in b.measures if one in a.measures)
        both = [pair for pair in pairs if cls.done(*pair)]
        old = scores_of(a.per_query, measures) if both else {}
        new = scores_of(b.per_query, measures) if both else {}
        return cls(
            a,
            b,
            pairs,
            [row for row in a.rows if row["row_id"] not in paired[0]],
            [row for row in b.rows if row["row_id"] not in paired[1]],
            [
                pair_scores(
                    measures,
                    pair,
                    [old.get(pair[0]["row_id"]), new.get(pair[1]["row_id"])],
                    _other_judgments(a, b, *pair),
                )
                for pair in both
            ],
            measures,
        )

    @staticmethod
    def done(old: Record, new: Record) -> bool:
        return bool(old["status"] == new["status"] == "ok")


def _margins(
    own: Mapping[str, float], asked: float | Mapping[str, float] | None, sweeps: Sequence[_Sweep]
) -> dict[str, float]:
    known = [one for one in sweeps[0].measures if any(one in b.measures for b in sweeps[1:])]
    if isinstance(asked, float | int):
        return dict.fromkeys(known, float(asked))
    chosen = {
        parse_measure(name): value for name, value in (own if asked is None else asked).items()
    }
    if asked is not None:
        for name in chosen:
            if name not in known:
                raise InputError(
                    f"margin of {name!r}: no measure of both sweeps, which have {', '.join(known)}"
                )
    return chosen


def _sorted(text: str) -> str:
    """Return parameters in an order of their own: versions of this package may write others."""
    return json.dumps(json.loads(text), sort_keys=True)


def _matched(a: _Sweep, b: _Sweep) -> Iterator[tuple[Record, Record]]:
    """Yield the rows that both have, in the order of the second."""
    found: dict[tuple[Any, ...], list[Record]] = {}
    for row in a.rows:
        found.setdefault(a.key_of(row), []).append(row)
    several: dict[tuple[Any, ...], int] = {}
    for row in b.rows:
        key = b.key_of(row)
        several[key] = several.get(key, 0) + 1
    for row in b.rows:
        key = b.key_of(row)
        mine = found.get(key, [])
        if len(mine) > 1 or several[key] > 1:  # as with a default that one entry spells out
            mine = [one for one in mine if one["configuration"] == row["configuration"]]
        if len(mine) == 1:
            yield mine[0], row


def _other_judgments(a: _Sweep, b: _Sweep, old: Record, new: Record) -> str:
    """Say why scores of a row were not given by the same judgments; nothing if they were."""
    if old["row_id"] == new["row_id"]:
        return ""
    name = new["dataset"]
    sums = [((one.manifest.get("datasets") or {}).get(name) or {}).get("qrels") for one in (a, b)]
    if None in sums:
        return f"whether the judgments of {name} are the same is not recorded"
    if sums[0] != sums[1]:
        return f"the judgments of {name} are other ones"
    if old.get("selectivity") != new.get("selectivity"):
        return f"the filter lets other documents of {name} pass"
    return ""


def _row_change(
    draft: _Draft,
    old: Record,
    new: Record,
    quality: tuple[QualityChange, ...],
    slower: float,
) -> RowChange:
    a, b = draft.a, draft.b
    same = old["row_id"] == new["row_id"]
    messages = [
        f"{one.side.letter}: {row['message']}"
        for one, row in ((a, old), (b, new))
        if row["status"] != "ok" and row["message"]
    ]
    change = RowChange(
        b.name_of(new),
        old["row_id"],
        new["row_id"],
        old["status"],
        new["status"],
        "; ".join(messages),
        () if same else causes_of(a.manifest, b.manifest, new["dataset"], new["encoder"]),
    )
    if not draft.done(old, new):
        lacking = [one.side.letter for one, row in ((a, old), (b, new)) if row["status"] != "ok"]
        reason = f"not done in {' and '.join(lacking)}"
        means = [
            QualityChange(name, old.get(name), new.get(name), "not compared", reason=reason)
            for name in draft.measures
        ]
        return replace(change, quality=tuple(means))
    depths = a.setting("neighbour_recall"), b.setting("neighbour_recall")
    column = f"neighbour_recall@{depths[1]}"
    return replace(
        change,
        reused=same and old.get("measured") == new.get("measured") is not None,
        quality=quality,
        recall=RecallChange(column, old.get(column), new.get(column))
        if depths[0] == depths[1] is not None
        else None,
        costs=tuple(cost_changes((a.manifest, b.manifest), (old, new), slower)),
    )


def _lone(
    rows: Iterable[Record], mine: _Sweep, others: Sequence[Record], other: _Sweep
) -> Iterator[LoneRow]:
    """Yield rows of one sweep alone, with what the other calls the same."""
    called: dict[RowName, Record] = {}
    for row in others:
        called.setdefault(replace(other.name_of(row), k=None), row)
    for row in rows:
        name = mine.name_of(row)
        twin = called.get(replace(name, k=None))
        note = ""
        if twin is not None:
            told = ", ".join(_parameters_differing(row, twin, (name.k, other.setting("k"))))
            note = f"{other.side.letter} has it with other parameters: {told}" if told else ""
        means = {one: row.get(one) for one in mine.measures}
        yield LoneRow(name, row["row_id"], row["status"], means, note)


def _parameters_differing(
    mine: Record, other: Record, depths: tuple[int | None, int | None]
) -> Iterator[str]:
    if depths[0] != depths[1]:
        yield f"k {depths[1]} instead of {depths[0]}"
    for column in ("build_params", "search_params"):
        here, there = (json.loads(row.get(column) or "{}") for row in (mine, other))
        for name in dict.fromkeys([*here, *there]):
            if here.get(name) != there.get(name) or (name in here) is not (name in there):
                shown = [
                    json.dumps(one[name]) if name in one else "nothing" for one in (there, here)
                ]
                yield f"{name} {shown[0]} instead of {shown[1]}"
