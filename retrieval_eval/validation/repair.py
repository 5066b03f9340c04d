"""A repaired copy of a folder: each change is one that was asked for or loses nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from retrieval_eval.errors import InputError
from retrieval_eval.textfiles import PACKED, open_bytes, pack_bytes
from retrieval_eval.validation.checks import judgment_flaws, repeated_ids
from retrieval_eval.validation.findings import Notes
from retrieval_eval.validation.scan import Folder, Judged, Texts, find_folder, scan_folder

__all__ = ["DROPS", "Drop", "Repair", "RepairedLine", "repair"]

Drop = Literal["bad-lines", "empty-documents", "empty-queries", "queries-without-relevant"]
"""What is dropped only if that is asked for."""
DROPS: tuple[Drop, ...] = (
    "bad-lines",
    "empty-documents",
    "empty-queries",
    "queries-without-relevant",
)

_LIST = "repairs.json"
_SHOWN = 200
_BLOCK = 1 << 14  # lines packed at a time


@dataclass(frozen=True)
class RepairedLine:
    """One line that the copy lacks.

    Parameters
    ----------
    file : str
        Its file, relative to the folder.
    line : int
        Its number there, from 1.
    reason : str
        Why.
    """

    file: str
    line: int
    reason: str


@dataclass(frozen=True, eq=False)
class Repair:
    """What a repair did.

    Parameters
    ----------
    source, target : Path
        The folder, and its copy.
    lines : tuple of RepairedLine
        The lines that the copy lacks; every other line is there, byte for byte.
    """

    source: Path
    target: Path
    lines: tuple[RepairedLine, ...]

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many lines of each file went for each kind of reason."""
        found: dict[tuple[str, str], int] = {}
        for one in self.lines:
            key = (one.file, one.reason.partition(": ")[0])
            found[key] = found.get(key, 0) + 1
        return found


@dataclass
class _Plan:
    """Lines to drop of each file, with reasons; and what needs a decision."""

    keep: Literal["first"] | None
    drop: Collection[str]
    lines: dict[str, dict[int, str]]
    undecided: dict[str, tuple[int, str]]

    def take(self, path: str, line: int, reason: str) -> None:
        self.lines.setdefault(path, {}).setdefault(int(line), reason)

    def ask(self, decided: bool, path: str, line: int, reason: str, way: str) -> None:
        """Drop a line if that was decided, else note that it was not."""
        if decided:
            self.take(path, line, reason)
            return
        count, first = self.undecided.get(way, (0, f"{path}:{line}: {reason}"))
        self.undecided[way] = count + 1, first


def repair(
    folder: str | Path,
    target: str | Path,
    *,
    splits: Sequence[str] = (),
    keep: Literal["first"] | None = None,
    drop: Collection[Drop] = (),
) -> Repair:
    """Write a copy of a folder in BEIR's layout from which every error is gone.

    Without being asked, it drops what loses nothing: a document or query that repeats an earlier
    one with its id and text, a judgment that repeats an earlier one with its grade; and judgments
    of queries and documents that are not there. Everything else needs a decision.

    Parameters
    ----------
    folder : str or Path
        Is not changed.
    target : str or Path
        A folder that is not there yet, or empty. The list of changes is written into it, as
        ``repairs.json``.
    splits : sequence of str
        Only these are copied; all by default.
    keep : {'first'}, optional
        Of an id with several texts, or a pair with several grades, the first stays.
    drop : collection of str
        ``bad-lines``: lines that cannot be read, and queries whose id starts with '#', with their
        judgments. ``empty-documents``, ``empty-queries``: those without text, with their judgments.
        ``queries-without-relevant``: the judgments of queries that have no relevant document,
        split by split.

    Raises
    ------
    InputError
        If something needs a decision that was not made, the target is not empty, nothing would be
        left of a file, or the folder is no such folder.
    """
    source, copy = Path(folder), Path(target)
    if copy.exists() and (not copy.is_dir() or any(copy.iterdir())):
        raise InputError(f"{copy}: is there already: the repaired copy needs a new or empty folder")
    files = find_folder(source, list(splits))
    notes = Notes(1)
    documents, queries, judged = scan_folder(files, notes)
    plan = _Plan(keep, drop, {}, {})
    for finding in notes.findings():
        if finding.rule == "cut-off-file" and "bad-lines" not in drop:
            place, text = finding.examples[0]
            plan.undecided["--drop bad-lines"] = (1, f"{place}: {text}")
    left_documents = _plan_texts(documents, plan, "empty-documents", frozenset())
    asked = set(pl.concat([one.table["query"] for one in judged]).unique())
    left_queries = _plan_texts(queries, plan, "empty-queries", asked)
    left = [_plan_judgments(one, left_documents, left_queries, plan) for one in judged]
    if plan.undecided:
        parts = [
            f"{count} need{'s' if count == 1 else ''} {way} (the first is {first})"
            for way, (count, first) in plan.undecided.items()
        ]
        raise InputError(f"{source}: what to repair is not decided: {'; '.join(parts)}")
    for what, count in (
        (documents.path, len(left_documents)),
        *((one.path, count) for one, count in zip(judged, left, strict=True)),
    ):
        if not count:
            raise InputError(f"{what}: nothing would be left; see what `validate` says of it")
    lines = _write(files, source, copy, plan)
    return Repair(source, copy, lines)


def _plan_texts(texts: Texts, plan: _Plan, empty: str, judged: Collection[str]) -> pl.Series:
    """Plan what to drop of documents or queries, and return the ids that are left."""
    for line in sorted(texts.bad_lines):
        plan.ask("bad-lines" in plan.drop, texts.path, line, "cannot be read", "--drop bad-lines")
    gone = np.zeros(len(texts), dtype=bool)
    rows, first = repeated_ids(texts)
    for row, origin in zip(rows.tolist(), first.tolist(), strict=True):
        earlier = f"{texts.ids[row]!r} stood in line {texts.lines[origin]}"
        line = int(texts.lines[row])
        gone[row] = True
        if texts.exact[row] == texts.exact[origin]:
            plan.take(texts.path, line, f"repeated with the same text: {earlier}")
        else:
            reason = f"repeated with another text: {earlier}"
            plan.ask(plan.keep == "first", texts.path, line, reason, "--keep first")
    for row in np.flatnonzero((texts.characters == 0) & ~gone).tolist():
        line, reason = int(texts.lines[row]), f"has no text: {texts.ids[row]!r}"
        if empty in plan.drop:
            plan.take(texts.path, line, reason)
            gone[row] = True
        elif texts.ids[row] in judged:
            plan.ask(False, texts.path, line, reason, f"--drop {empty}")
    if texts.which == "query":
        comments = texts.ids.str.starts_with("#").to_numpy() & ~gone
        for row in np.flatnonzero(comments).tolist():
            if texts.ids[row] in judged:
                reason = f"id of a comment: {texts.ids[row]!r}"
                line = int(texts.lines[row])
                plan.ask("bad-lines" in plan.drop, texts.path, line, reason, "--drop bad-lines")
                gone[row] = True
    return texts.ids.filter(pl.Series(~gone)).unique()


def _plan_judgments(one: Judged, documents: pl.Series, queries: pl.Series, plan: _Plan) -> int:
    """Plan what to drop of a split, and return how many judgments are left."""
    for line in sorted(one.bad_lines):
        plan.ask("bad-lines" in plan.drop, one.path, line, "cannot be read", "--drop bad-lines")
    table = one.table
    for column, known in (("query", queries), ("document", documents)):
        unknown = ~pl.col(column).is_in(known.implode())
        for row in table.filter(unknown).iter_rows(named=True):
            reason = f"names a {column} that is not there: {row[column]!r}"
            plan.take(one.path, row["line"], reason)
        table = table.filter(~unknown)
    again = judgment_flaws(table)
    for row in again.iter_rows(named=True):
        pair = f"query {row['query']!r} judged {row['document']!r} in line {row['first_line']}"
        if row["grade"] == row["first_grade"]:
            plan.take(one.path, row["line"], f"repeated with the same grade: {pair}")
        else:
            reason = f"repeated with another grade: {pair}"
            plan.ask(plan.keep == "first", one.path, row["line"], reason, "--keep first")
    table = table.filter(~pl.col("line").is_in(again["line"].implode()))
    if "queries-without-relevant" in plan.drop:
        none = pl.col("grade").max().over("query") <= 0
        for row in table.filter(none).iter_rows(named=True):
            reason = f"its query has no relevant document: {row['query']!r}"
            plan.take(one.path, row["line"], reason)
        table = table.filter(~none)
    return len(table)


def _write(files: Folder, source: Path, target: Path, plan: _Plan) -> tuple[RepairedLine, ...]:
    """Write the copy beside its place, and move it there when it is whole."""
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "qrels").mkdir(parents=True)
    try:
        lines = []
        for path in (files.corpus, files.queries, *files.splits.values()):
            name = path.relative_to(source)
            dropped = plan.lines.get(str(path), {})
            _copy(path, partial / name, dropped, whole="bad-lines" not in plan.drop)
            lines += [
                RepairedLine(name.as_posix(), line, reason)
                for line, reason in sorted(dropped.items())
            ]
        content = {
            "source": str(source.resolve()),
            "keep": plan.keep,
            "drop": sorted(plan.drop),
            "dropped": [vars(one) for one in lines],
        }
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (partial / _LIST).write_text(text + "\n", encoding="utf-8")
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return tuple(lines)


def _copy(path: Path, target: Path, dropped: Collection[int], *, whole: bool) -> None:
    """Copy the lines of a file but for some; of a file that is cut off, what there is."""
    suffix = path.suffix if path.suffix in PACKED else ""
    kept = (
        raw for number, raw in enumerate(_raw_lines(path, whole), start=1) if number not in dropped
    )
    with target.open("wb") as out:
        while block := list(islice(kept, _BLOCK)):
            out.write(pack_bytes(b"".join(block), suffix))


def _raw_lines(path: Path, whole: bool) -> Iterator[bytes]:
    try:
        with open_bytes(path) as stream:
            yield from stream
    except InputError:
        if whole:
            raise
