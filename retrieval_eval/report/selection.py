"""A selection in all the forms that ``select`` prints."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from retrieval_eval.comparison import MARGIN_TESTS
from retrieval_eval.report.forms import Table, markdown_table, markdown_text
from retrieval_eval.report.terminal import number, print_table, print_text, shown_p
from retrieval_eval.selection import Answer, Candidate, Front, PartScores, Selection

__all__ = ["SelectionReport"]

_UNITS = {"_s": (1e3, "ms"), "_bytes": (1e-6, "MB"), "qps": (1e6, "us a query")}


@dataclass(frozen=True, eq=False)
class SelectionReport:
    """What was chosen, and why.

    Parameters
    ----------
    source : str
        Where the results came from.
    selection : Selection
        The answers.
    fronts : sequence of Front
        Pareto fronts to show as well.
    """

    source: str
    selection: Selection
    fronts: Sequence[Front] = ()

    @property
    def legend(self) -> list[str]:
        """The answers, and what they rest on, in sentences."""
        options = self.selection.options
        lines = [self._sentence(answer) for answer in self.selection.answers]
        lines += [
            f"{answer.title}: no held-out query differs in {place}; losses on less than "
            f"{unseen:.2g} of all queries may have been missed"
            for answer in self.selection.answers
            if answer.certificate is not None
            for place, unseen in zip(answer.places, answer.certificate.unseen, strict=True)
            if unseen is not None and options.rare_loss is None
        ]
        dealt = (
            "on given ones"
            if options.tune is None
            else f"on {options.tune:g} of the queries, dealt by seed {options.seed}"
        )
        lines.append(
            f"chosen {dealt}; tested on the others, from the surest to the cheapest and up to the "
            f"first that failed, by a {MARGIN_TESTS['hall']}"
            + (
                ""
                if options.rare_loss is None
                else f", and against rare losses of {options.rare_loss:g}"
            )
        )
        lines += self._levels()
        if self.selection.left_out:
            first = self.selection.left_out[0]
            more = len(self.selection.left_out) - 1
            others = f" and {more} other{'s' if more > 1 else ''}" if more else ""
            lines.append(f"left out: {first.name}{others}: {first.reason}")
        return lines + [f"note: {note}" for note in self.selection.notes]

    def _levels(self) -> Iterator[str]:
        options = self.selection.options
        if options.family == "each":
            yield f"each certificate is false with a chance of at most {options.alpha:g}, by itself"
            return
        for joint, words in ((False, "any certificate"), (True, "any one for all datasets")):
            found = [answer for answer in self.selection.answers if answer.is_joint is joint]
            if found:
                yield (
                    f"the chance that {words} is false is at most {options.alpha:g}: each test is "
                    f"at level {found[0].level:.4g}"
                )

    def _sentence(self, answer: Answer) -> str:
        options = self.selection.options
        margin = f"{options.margin:g} {options.measure}"
        if answer.chosen is not None:
            return (
                f"{answer.title}: {answer.chosen.configuration} loses less than {margin} against "
                f"{answer.reference.name}, at {_share(answer.chosen, answer.reference)} its "
                f"{options.cost}"
            )
        if answer.nearest is None:
            return (
                f"{answer.title}: nothing to certify: no configuration that meets the goals is "
                f"cheaper than {answer.reference.name}"
            )
        near = answer.nearest
        if not near.held_out:
            return (
                f"{answer.title}: nothing can be certified: everything cheaper loses {margin} or "
                f"more on tuning queries; nearest is {near.configuration}"
            )
        needed = []
        if answer.queries_needed is not None:
            needed.append(
                f"about {answer.queries_needed} queries would show it four times in five, if its "
                "difference is what it seems"
            )
        if answer.queries_needed_if_equal is not None:
            needed.append(
                f"{answer.queries_needed_if_equal} if it is as good as the reference"
                if needed
                else f"about {answer.queries_needed_if_equal} queries would show it four times in "
                "five, if it is as good as the reference"
            )
        more = f": {', '.join(needed)}" if needed else ""
        return f"{answer.title}: nothing can be certified; nearest is {near.configuration}{more}"

    def _answers(self) -> Table:
        options = self.selection.options
        columns = [
            ("dataset", False),
            ("encoder", False),
            ("reference", False),
            ("chosen", False),
            (f"{options.cost}", True),
            ("of the reference's", True),
            ("tuning", True),
            ("held out", True),
            ("difference", True),
            ("at least", True),
            ("optimism", True),
            ("p", True),
        ]
        cells = []
        for answer in self.selection.answers:
            chosen, certificate = answer.chosen, answer.certificate
            for place, where in enumerate(answer.places):
                line = [
                    f"{where}{' (all)' if answer.is_joint else ''}",
                    answer.encoder or "all",
                    answer.reference.configuration if answer.encoder else answer.reference.name,
                ]
                if chosen is None or certificate is None:
                    cells.append([*line, "none", *[""] * 8])
                    continue
                name = chosen.configuration if answer.encoder else chosen.name
                tuned, held = chosen.tuning[place], chosen.held_out[place]
                cells.append(
                    [
                        *line,
                        name,
                        "" if answer.is_joint else self._cost(chosen),
                        _share(chosen, answer.reference),
                        number(tuned.score, 4),
                        number(held.score, 4),
                        f"{held.difference:+.4f}",
                        f"{certificate.lower_bound[place]:+.4f}",
                        f"{chosen.optimism[place]:+.4f}",
                        shown_p(held.p),
                    ]
                )
        return columns, cells

    def _cost(self, one: Candidate) -> str:
        cost = self.selection.options.cost
        if one.cost is None:
            return ""
        name = str(cost)
        unit = next((unit for end, unit in _UNITS.items() if name.endswith(end)), None)
        if cost.is_relative or unit is None:
            return f"{one.cost:.3f}"
        return f"{one.cost * unit[0]:.4g} {unit[1]}"

    def _candidates(self, answer: Answer) -> Table:
        columns = [
            *([("dataset", False)] if answer.is_joint else []),
            ("encoder", False),
            ("configuration", False),
            ("outcome", False),
            ("cost", True),
            ("tuning difference", True),
            ("p", True),
            ("held-out difference", True),
            ("p held out", True),
            ("why", False),
        ]
        cells = []
        for one in (answer.reference, *answer.candidates):
            for place, where in enumerate(answer.places):
                line = [str(where)] if answer.is_joint else []
                line += [one.encoder, one.configuration, one.outcome, self._cost_in(one, answer)]
                for part in (one.tuning, one.held_out):
                    line += _difference(
                        part[place] if part and one.outcome != "reference" else None
                    )
                cells.append([*line, one.reason])
        return columns, cells

    def _cost_in(self, one: Candidate, answer: Answer) -> str:
        if answer.is_joint:
            return number(one.cost, 3)
        return self._cost(one)

    def _leaders(self) -> Iterator[str]:
        for answer in self.selection.answers:
            if answer.leader is not None:
                gaps = ", ".join(
                    f"{gap:+.4f}{f' in {place}' if answer.is_joint else ''}"
                    for place, gap in zip(answer.places, answer.leader.optimism, strict=True)
                )
                yield (
                    f"{answer.title}: the best tuning score is that of "
                    f"{answer.leader.configuration}; beside the reference it is better there than "
                    f"on held-out queries by {gaps} (optimism of choosing by score)"
                )

    def _front(self, front: Front) -> Table:
        names = [name for name, _ in front.criteria]
        columns = [("encoder", False), ("configuration", False), *[(name, True) for name in names]]
        cells = [
            [row["encoder"], row["configuration"], *[f"{row[name]:.6g}" for name in names]]
            for row in front.rows
        ]
        return columns, cells

    def _sections(self) -> Iterator[tuple[str, Table]]:
        for answer in self.selection.answers:
            if answer.candidates:
                yield f"candidates: {answer.title}", self._candidates(answer)
        for front in self.fronts:
            where = front.dataset if front.filter is None else f"{front.dataset}, {front.filter}"
            counts = f"{len(front.dominated)} dominated, {len(front.unmeasured)} without a figure"
            yield f"front: {where}, all queries; {counts}", self._front(front)

    def show(self) -> None:
        """Print tables."""
        print_table(*self._answers())
        for title, table in self._sections():
            print_text(title)
            print_table(*table)
        for line in self._leaders():
            print_text(line)

    def markdown(self) -> str:
        """Return the decision, then the tables."""
        mark = "✅" if self.selection.certified else "❌"
        first, *rest = self.legend
        parts = [
            f"### {mark} {markdown_text(first)}",
            markdown_table(self._answers()),
            "\n".join(f"- {markdown_text(line)}" for line in [*rest, *self._leaders()]),
        ]
        for title, table in self._sections():
            parts += [f"**{markdown_text(title)}**", markdown_table(table)]
        return "\n\n".join(parts)

    def json(self) -> str:
        """One object with everything."""
        selection = self.selection
        options = asdict(selection.options)
        options["cost"] = str(selection.options.cost)
        options["goals"] = [str(goal) for goal in selection.options.goals]
        content = {
            "source": self.source,
            "certified": selection.certified,
            "options": {"test": MARGIN_TESTS["hall"], **options},
            "answers": [_answer_record(answer) for answer in selection.answers],
            "queries": {
                name: {"tuning": list(tuned), "held_out": list(held)}
                for name, (tuned, held) in selection.parts.items()
            },
            "left_out": [asdict(one) for one in selection.left_out],
            "fronts": [
                {
                    "dataset": front.dataset,
                    "filter": front.filter,
                    "criteria": {name: "higher" if up else "lower" for name, up in front.criteria},
                    "rows": [row["row_id"] for row in front.rows],
                    "dominated": dict(front.dominated),
                    "unmeasured": {one: list(names) for one, names in front.unmeasured.items()},
                }
                for front in self.fronts
            ],
            "notes": list(selection.notes),
        }
        return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False)

    def csv(self) -> str:
        """One row for each answer, candidate and place; what is not known is empty."""
        text = io.StringIO()
        writer = csv.DictWriter(text, _CSV_COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for answer in self.selection.answers:
            for one in (answer.reference, *answer.candidates):
                for record in _csv_records(answer, one):
                    writer.writerow({key: _cell(value) for key, value in record.items()})
        return text.getvalue().rstrip("\n")


_PART_COLUMNS = ("n", "n_differing", "score", "reference", "difference", "p")
_CSV_COLUMNS = [
    "answer",
    "dataset",
    "filter",
    "row_id",
    "encoder",
    "configuration",
    "outcome",
    "cost",
    "level",
    *(f"{part}_{name}" for part in ("tuning", "held_out") for name in _PART_COLUMNS),
    "optimism",
    "reason",
]


def _csv_records(answer: Answer, one: Candidate) -> Iterator[dict[str, Any]]:
    everywhere = len(one.row_ids) == len(answer.places)
    for place, where in enumerate(answer.places):
        record: dict[str, Any] = {
            "answer": "all places" if answer.is_joint else "one place",
            "dataset": where.dataset,
            "filter": where.filter,
            "row_id": one.row_ids[place] if everywhere else None,
            "encoder": one.encoder,
            "configuration": one.configuration,
            "outcome": one.outcome,
            "cost": one.cost,
            "level": answer.level,
            "reason": one.reason,
        }
        for name, part in (("tuning", one.tuning), ("held_out", one.held_out)):
            if part:
                record |= {f"{name}_{key}": getattr(part[place], key) for key in _PART_COLUMNS}
        if one.tuning and one.held_out:
            record["optimism"] = one.optimism[place]
        yield record


def _answer_record(answer: Answer) -> dict[str, Any]:
    def told(one: Candidate | None) -> dict[str, Any] | None:
        if one is None:
            return None
        optimism = one.optimism if one.tuning and one.held_out else None
        return {**asdict(one), "optimism": optimism}

    return {
        "places": [asdict(place) for place in answer.places],
        "encoder": answer.encoder,
        "level": answer.level,
        "reference": told(answer.reference),
        "chosen": told(answer.chosen),
        "certificate": None if answer.certificate is None else asdict(answer.certificate),
        "leader": told(answer.leader),
        "nearest": told(answer.nearest),
        "queries_needed": answer.queries_needed,
        "queries_needed_if_equal": answer.queries_needed_if_equal,
        "candidates": [told(one) for one in answer.candidates],
    }


def _difference(part: PartScores | None) -> list[str]:
    if part is None or math.isnan(part.difference):
        return ["", ""]
    return [f"{part.difference:+.4f}", "" if math.isnan(part.p) else shown_p(part.p)]


def _share(one: Candidate, reference: Candidate) -> str:
    if one.cost is None or not reference.cost:
        return ""
    return f"{one.cost / reference.cost:.3g} x"


def _cell(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _plain(value: Any) -> Any:
    """Replace what JSON has no word for: NaN by null."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
