"""Judged documents and their ranks in the run files of two rows, and what became of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Measure
from retrieval_eval.report.queries.sources import Source

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "DOCUMENTS",
    "VERDICTS",
    "Judged",
    "Verdict",
    "is_exact",
    "measure_facts",
    "verdict_words",
]

Verdict = Literal["both", "lost", "gained", "neither", "irrelevant", "filtered", "absent"]

VERDICTS: tuple[Verdict, ...] = (
    *("both", "lost", "gained", "neither"),
    *("irrelevant", "filtered", "absent"),
)
"""What may have become of a judged document; :func:`verdict_words` says what each means."""

DOCUMENTS = 10
"""Judged documents of a query that are listed at the most."""

_COLUMNS = ("query_id", "q0", "doc_id", "rank", "score", "tag")
_NOWHERE = np.iinfo(np.int64).max  # the rank of a document that a run does not return

_Ints = NDArray[np.int64]


def verdict_words(question: str, *, exact: bool) -> dict[str, str]:
    """Say what verdicts mean for two rows.

    Parameters
    ----------
    question : {'index', 'best', 'encoder', 'combination'}
        What differs between them.
    exact : bool
        Whether the reference searches exactly; for encoders, whether both do.

    Examples
    --------
    >>> verdict_words("index", exact=True)["lost"], verdict_words("index", exact=False)["lost"]
    ('lost by the index', 'lost against the reference')
    """
    lost = ("lost against the reference", "gained on the reference", "found by neither")
    if question == "index" and exact:
        lost = ("lost by the index", "gained by the index", "lost by the encoder")
    elif question == "encoder" and exact:
        lost = ("lost by the encoder", "gained by the encoder", "lost by both encoders")
    elif question == "encoder":
        lost = ("lost by encoder or index", "gained by encoder or index", "found by neither")
    elif question == "combination":
        lost = ("lost by the combination", "gained by the combination", "found by neither")
    return {
        "both": "found by both",
        "lost": lost[0],
        "gained": lost[1],
        "neither": lost[2],
        "irrelevant": "not relevant",
        "filtered": "left out by the filter",
        "absent": "not in the corpus",
    }


def is_exact(manifest: Mapping[str, Any], index: str) -> bool:
    """Whether the index of a row, by its name in the tables, is one that searches exactly.

    Parameters
    ----------
    manifest : mapping
        Of the sweep: it says what a label stands for.
    index : str
        As in the column ``index``.

    Returns
    -------
    bool
        False also where that cannot be told any more.

    Examples
    --------
    >>> is_exact({}, "flat"), is_exact({}, "hnsw"), is_exact({}, "gone")
    (True, False, False)
    """
    from retrieval_eval.indexes import INDEXES, index_specification
    from retrieval_eval.parameters import parse_entry

    names = {}
    for entry in manifest.get("sweep", {}).get("indexes", ()):
        name, parameters = parse_entry(entry)
        names[str(parameters.get("label") or name)] = name
    try:
        return INDEXES.load(index_specification(names.get(index, index))[0]).exact
    except Exception:  # noqa: BLE001  importing an index of one's own may raise anything
        return False


@dataclass(frozen=True, eq=False)
class Judged:
    """The judgments of a dataset under a filter, to be met with runs.

    Parameters
    ----------
    folder : Path
        Of the results.
    frame : polars.DataFrame, n rows
        ``query_id``, ``doc_id`` and ``grade``; the rows of a query side by side.
    place : ndarray of int8, shape (n,)
        See :meth:`retrieval_eval.report.queries.sources.Source.where`.
    measures : mapping of str to (int, int, bool)
        For each measure its depth, the grade from which documents are relevant to it, and whether
        it sees judged documents only.
    """

    folder: Path
    frame: pl.DataFrame
    place: NDArray[np.int8]
    measures: Mapping[str, tuple[int, int, bool]]
    _kept: dict[str, _Ints] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        folder: Path,
        source: Source,
        filter_: str | None,
        measures: Mapping[str, tuple[int, int, bool]],
    ) -> Judged:
        """Take the judgments of a dataset."""
        frame = source.judgments.sort("query_id", "doc_id")
        place = np.ones(len(frame), dtype=np.int8)
        if not source.changed:
            place = source.where(filter_, frame["doc_id"].to_list())
        return cls(folder, frame, place, measures)

    def look_up(
        self, candidate: str, reference: str, queries: Iterable[str], keep: Iterable[str] = ()
    ) -> tuple[pl.DataFrame, dict[str, tuple[int, ...]]]:
        """Return what became of judged documents between two rows.

        Parameters
        ----------
        candidate, reference : str
            Their row ids.
        queries : iterable of str
            Those whose documents are listed.
        keep : iterable of str
            Rows whose ranks are needed again; others are forgotten.

        Returns
        -------
        documents : polars.DataFrame
            At most :data:`DOCUMENTS` rows a query: ``query_id``, ``doc_id``, ``grade``,
            ``candidate_rank`` and ``reference_rank`` (from 1; null if it is not among the hits),
            ``judged`` (how many the query has in all), and a verdict under each measure's name.
            Relevant documents come first, higher grades before lower ones, and among these those
            whose rank differs.
        tally : dict of str to tuple of int
            For each measure, the relevant documents of all queries by verdict, in the order of
            :data:`VERDICTS`.

        Raises
        ------
        InputError
            If a run file is missing or cannot be read.
        """
        import polars as pl

        for row_id in set(self._kept) - {*keep, candidate, reference}:
            del self._kept[row_id]
        mine, theirs = self._ranks(candidate), self._ranks(reference)
        wanted = pl.Series(list(queries), dtype=pl.String)
        rows = self.frame["query_id"].is_in(wanted.implode()).arg_true().to_numpy()
        lowest = min(level for _, level, _ in self.measures.values())
        ranks = {
            name: pl.Series(
                [None if one == _NOWHERE else one for one in some.tolist()], dtype=pl.Int64
            )
            for name, some in (("candidate_rank", mine[rows]), ("reference_rank", theirs[rows]))
        }
        verdicts, tally = {}, {}
        for name, (depth, level, condensed) in self.measures.items():
            codes = self._verdicts(mine, theirs, depth, level, condensed)
            relevant = codes[self.frame["grade"].to_numpy() >= level]
            tally[name] = tuple(np.bincount(relevant, minlength=len(VERDICTS)).tolist())
            verdicts[name] = np.array(VERDICTS)[codes[rows]]
        order = {
            "_relevant": self.frame["grade"].gather(rows) >= lowest,
            "_moved": mine[rows] != theirs[rows],
            "_best": np.minimum(mine, theirs)[rows],
        }
        found = self.frame[rows].with_columns(
            pl.len().over("query_id").cast(pl.Int64).alias("judged"),
            *(pl.Series(name, one) for name, one in {**ranks, **verdicts, **order}.items()),
        )
        found = found.sort(
            *("query_id", "_relevant", "grade", "_moved", "_best", "doc_id"),
            descending=[False, True, True, True, False, False],
        )
        listed = found.group_by("query_id", maintain_order=True).head(DOCUMENTS)
        return listed.drop(list(order)), tally

    def _ranks(self, row_id: str) -> _Ints:
        """Look up the rank of each judged document in a row's run; shape (n,)."""
        import polars as pl

        if row_id not in self._kept:
            path = _run_file(self.folder, row_id)
            # The ranks that were scored: ties were broken before they were written.
            schema = {name: pl.Int64 if name == "rank" else pl.String for name in _COLUMNS}
            run = pl.scan_csv(path, separator=" ", has_header=False, quote_char=None, schema=schema)
            pairs = self.frame.lazy().select("query_id", "doc_id").with_row_index("place")
            try:
                found = (
                    run.select("query_id", "doc_id", "rank")
                    .join(pairs, on=["query_id", "doc_id"])
                    .select("place", "rank")
                    .collect()
                )
            except (OSError, pl.exceptions.PolarsError) as error:
                reason = " ".join(str(error).split())
                raise InputError(f"{path}: cannot be read: {reason}") from None
            ranks = np.full(len(self.frame), _NOWHERE)
            ranks[found["place"].to_numpy()] = found["rank"].to_numpy()
            self._kept[row_id] = ranks
        return self._kept[row_id]

    def _verdicts(
        self, mine: _Ints, theirs: _Ints, depth: int, level: int, condensed: bool
    ) -> NDArray[np.int8]:
        """Decide on all judgments by one measure: places in `VERDICTS`; shape (n,)."""
        if condensed:
            mine, theirs = self._condensed(mine), self._condensed(theirs)
        inside, before = mine <= depth, theirs <= depth
        irrelevant = self.frame["grade"].to_numpy() < level
        kinds = {
            "absent": self.place < 0,
            "filtered": self.place == 0,
            "irrelevant": irrelevant,
            "both": inside & before,
            "lost": before,
            "gained": inside,
        }
        codes = [VERDICTS.index(name) for name in kinds]
        found = np.select(list(kinds.values()), codes, VERDICTS.index("neither"))
        return found.astype(np.int8)

    def _condensed(self, ranks: _Ints) -> _Ints:
        """Count ranks over the judged documents of a query alone."""
        query = self.frame["query_id"].rle_id().to_numpy().astype(np.int64)
        order = np.lexsort((ranks, query))
        first = np.searchsorted(query, np.arange(int(query.max(initial=-1)) + 1))
        counted = np.empty_like(ranks)
        counted[order] = np.arange(1, len(order) + 1) - first[query]
        return np.where(ranks == _NOWHERE, _NOWHERE, counted)


def measure_facts(measures: Iterable[str], k: int) -> dict[str, tuple[int, int, bool]]:
    """Return what :class:`Judged` needs to know of measures; k where they have no cut-off.

    Examples
    --------
    >>> measure_facts(["nDCG@10", "AP(rel=2)"], 100)
    {'nDCG@10': (10, 1, False), 'AP(rel=2)': (100, 2, False)}
    """
    found = {}
    for name in measures:
        measure = Measure.parse(name)
        known = measure.spec.parameters
        cutoff = measure.cutoff
        level = int(("rel" in known and measure["rel"]) or 1)
        condensed = bool("judged_only" in known and measure["judged_only"])
        found[name] = (cutoff if isinstance(cutoff, int) else k, level, condensed)
    return found


def _run_file(folder: Path, row_id: str) -> Path:
    found = sorted((folder / "runs").glob(f"*.{row_id[:8]}.trec.gz"))
    if len(found) != 1:
        how_many = "no run file" if not found else f"{len(found)} run files"
        raise InputError(f"{folder / 'runs'} holds {how_many} of the row {row_id[:8]}")
    return found[0]
