"""Scores of runs in all the forms that ``evaluate`` prints."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from retrieval_eval.comparison import INTERVALS, mean_intervals
from retrieval_eval.comparison.resampling import DEFAULT_DRAWS
from retrieval_eval.evaluation import Evaluation, Measure, value_limits
from retrieval_eval.evaluation.trec_names import TrecName, trec_name
from retrieval_eval.report.forms import Table, latex_table, markdown_table
from retrieval_eval.report.terminal import number, print_table, with_interval

__all__ = ["EvaluationReport"]

_SMALLEST = 0.00001


@dataclass(frozen=True, eq=False)
class EvaluationReport:
    """Scores of several runs on the same measures, with intervals.

    Parameters
    ----------
    qrels : str
        Where the judgments came from.
    evaluations : tuple of Evaluation
        At least one; all with the same measures and options.
    interval : {'t', 'percentile', 'bca'}
        Of the means, at 95 %.
    draws, seed : int
        Of the bootstrap.
    """

    qrels: str
    evaluations: tuple[Evaluation, ...]
    interval: str = "t"
    draws: int = DEFAULT_DRAWS
    seed: int = 0

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures, canonical."""
        return self.evaluations[0].measures

    @cached_property
    def intervals(self) -> list[list[tuple[float, float] | None]]:
        """Intervals of 95 %, for each run and measure.

        None for measures that are no mean over queries, and for fewer than two queries.
        """
        result = []
        for one in self.evaluations:
            parsed = [Measure.parse(name) for name in self.measures]
            logs = [measure.is_geometric for measure in parsed]
            values = np.array(
                [
                    np.log(np.maximum(row, _SMALLEST)) if log else row
                    for row, log in zip(one.values, logs, strict=True)
                ]
            )
            averaged = [row for row, m in enumerate(parsed) if m.spec.averaged]
            bounds: list[tuple[float, float] | None] = [None] * len(parsed)
            for row in averaged:  # SampledRR leaves queries out, so that rows differ in length
                kept = values[row, ~np.isnan(values[row])][None, :]
                limits = None if logs[row] else [value_limits(self.measures[row])]
                ((low, high),) = mean_intervals(
                    kept, self.interval, limits=limits, draws=self.draws, seed=self.seed
                ).tolist()
                if not math.isnan(low):
                    bounds[row] = (np.exp(low), np.exp(high)) if logs[row] else (low, high)
            result.append(bounds)
        return result

    def _record(self, place: int, *, per_query: bool) -> dict[str, Any]:
        one = self.evaluations[place]
        measures: dict[str, Any] = {}
        for name, bounds in zip(self.measures, self.intervals[place], strict=True):
            measures[name] = {"mean": one.means[name], "ci95": list(bounds) if bounds else None}
            counted = int(np.count_nonzero(~np.isnan(one.per_query(name))))
            if counted < len(one.query_ids):
                measures[name]["n_queries"] = counted
        record: dict[str, Any] = {
            "name": one.run_name,
            "n_queries": len(one.query_ids),
            "n_missing": one.missing,
            "n_unjudged": one.unjudged,
            "measures": measures,
        }
        if per_query:
            record["per_query"] = {
                name: {
                    query: value
                    for query, value in zip(
                        one.query_ids, one.per_query(name).tolist(), strict=True
                    )
                    if not math.isnan(value)  # SampledRR leaves queries out
                }
                for name in self.measures
            }
        return record

    @property
    def options(self) -> dict[str, Any]:
        """All that decides the result besides the files."""
        return {
            **self.evaluations[0].options.as_dict(),
            "interval": self.interval,
            "draws": self.draws,
            "seed": self.seed,
        }

    def json(self, *, per_query: bool) -> str:
        """One object for all runs."""
        content = {
            "qrels": self.qrels,
            "options": self.options,
            "runs": [self._record(i, per_query=per_query) for i in range(len(self.evaluations))],
        }
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)

    def jsonl(self, *, per_query: bool) -> str:
        """One object for each run, on a line of its own."""
        lines = [
            {
                "qrels": self.qrels,
                "options": self.options,
                **self._record(place, per_query=per_query),
            }
            for place in range(len(self.evaluations))
        ]
        return "\n".join(json.dumps(line, ensure_ascii=False, allow_nan=False) for line in lines)

    def csv(self, *, per_query: bool) -> str:
        """One row for each run and measure, with ``all`` for the query; and one for each query."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["run", "query_id", "measure", "value", "ci95_low", "ci95_high"])
        for one, bounds in zip(self.evaluations, self.intervals, strict=True):
            for name, interval in zip(self.measures, bounds, strict=True):
                writer.writerow(
                    [one.run_name, "all", name, one.means[name], *(interval or ("", ""))]
                )
        for one in self.evaluations if per_query else ():
            for column, query in enumerate(one.query_ids):
                for name, value in zip(self.measures, one.values[:, column].tolist(), strict=True):
                    shown = "" if math.isnan(value) else value
                    writer.writerow([one.run_name, query, name, shown, "", ""])
        return text.getvalue().rstrip("\n")

    def _cells(self) -> Table:
        skipped = self.evaluations[0].options.missing == "skip"
        last = "left out" if skipped else "not answered"
        columns = [("run", False), *((name, True) for name in self.measures), (last, True)]
        cells = []
        for one, bounds in zip(self.evaluations, self.intervals, strict=True):
            judged = len(one.query_ids) + (one.missing if skipped else 0)
            line = [one.run_name]
            for name, interval in zip(self.measures, bounds, strict=True):
                line.append(with_interval(one.means[name], *(interval or (None, None))))
            cells.append([*line, f"{one.missing} of {judged}"])
        return columns, cells

    def _query_cells(self) -> Table:
        columns = [("run", False), ("query", False), *((name, True) for name in self.measures)]
        cells = [
            [
                one.run_name,
                query,
                *(number(None if math.isnan(v) else v, 4) for v in one.values[:, column].tolist()),
            ]
            for one in self.evaluations
            for column, query in enumerate(one.query_ids)
        ]
        return columns, cells

    def _tables(self, *, per_query: bool) -> list[Table]:
        return [self._cells(), *([self._query_cells()] if per_query else [])]

    def show(self, *, per_query: bool) -> None:
        """Print tables."""
        for columns, cells in self._tables(per_query=per_query):
            print_table(columns, cells)

    @property
    def legend(self) -> str:
        """What the numbers are, in one sentence: every option that is not the default."""
        options = self.evaluations[0].options
        plain = type(options)().as_dict()
        changed = [
            f"{name} {json.dumps(value)}"
            for name, value in options.as_dict().items()
            if value != plain[name]
        ]
        base = (
            "means over all judged queries, those not answered as 0"
            if options.missing == "zero"
            else "means over the judged queries that each run answers"
        )
        extra = f"; {', '.join(changed)}" if changed else ""
        drawn = "" if self.interval == "t" else f", {self.draws} draws"
        return f"{base}; [low, high]: 95 % interval ({INTERVALS[self.interval]}{drawn}){extra}"

    def markdown(self, *, per_query: bool) -> str:
        """Tables in Markdown."""
        return "\n\n".join(map(markdown_table, self._tables(per_query=per_query)))

    def latex(self, *, per_query: bool) -> str:
        """Tables in LaTeX, for the package booktabs."""
        return "\n\n".join(map(latex_table, self._tables(per_query=per_query)))

    def trec(self, *, per_query: bool, runid: bool, hide_returned: bool) -> str:
        """trec_eval's three columns: its names, its order, and counts added up.

        Parameters
        ----------
        per_query : bool
            Whether each answered query has its lines, in order of their ids.
        runid : bool
            Whether the name of the run and the number of queries are printed.
        hide_returned : bool
            Whether NumRet was asked for by nobody, and stays out.
        """
        defaults = self.evaluations[0].options.defaults
        named = [(*trec_name(Measure.parse(name), defaults), name) for name in self.measures]
        named = sorted(
            (one for one in named if not (hide_returned and one[3] == "NumRet")),
            key=lambda one: one[2],
        )
        lines = []
        for one in self.evaluations:
            if per_query:
                lines += _trec_queries(one, [(shown, trec, name) for shown, trec, _, name in named])
            if runid:
                lines.append(f"{'runid':<22}\tall\t{one.run_name}")
                lines.append(f"{'num_q':<22}\tall\t{len(one.query_ids)}")
            for shown, trec, _, name in named:
                whole = trec is not None and trec.whole
                total = float(one.per_query(name).sum()) if whole else one.means[name]
                lines.append(_trec_line(shown, "all", total, trec))
        return "\n".join(lines)


def _trec_queries(one: Evaluation, named: Sequence[tuple[str, TrecName | None, str]]) -> list[str]:
    answered = one.per_query("NumRet") > 0
    return [
        _trec_line(shown, query, float(one.per_query(name)[row]), trec)
        for row, query in sorted(enumerate(one.query_ids), key=lambda pair: pair[1])
        for shown, trec, name in named
        if answered[row]
        and (trec is None or trec.per_query)
        and not math.isnan(one.per_query(name)[row])
    ]


def _trec_line(name: str, query: str, value: float, trec: TrecName | None) -> str:
    shown = f"{value:.0f}" if trec is not None and trec.whole else f"{value:6.4f}"
    return f"{name:<22}\t{query}\t{shown}"
