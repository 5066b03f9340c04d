"""What a validation can find, how grave each of it is, and the collection of what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

__all__ = ["RULES", "Example", "Finding", "Notes", "Rule", "Severity", "Validation"]

Severity = Literal["error", "warning", "fact"]
"""An error: loading refuses. A warning: numbers mean less. A fact: worth knowing."""


class Rule(NamedTuple):
    """One thing that can be found."""

    severity: Severity
    meaning: str


RULES: dict[str, Rule] = {
    # lines
    "cut-off-file": Rule("error", "the file cannot be read to its end"),
    "not-utf8": Rule("error", "the line is not UTF-8 text"),
    "not-json": Rule("error", "the line holds no JSON object"),
    "incomplete-record": Rule("error", "'_id' and 'text' must be there and hold strings"),
    "bad-document-id": Rule("error", "the id is empty or holds white space, so no run can name it"),
    "bad-judgment": Rule("error", "not three columns under BEIR's header, or four as TREC's"),
    "bad-grade": Rule("error", "the grade is no whole number"),
    "no-document": Rule("error", "the corpus is empty"),
    "no-judgment": Rule("error", "the split holds no judgment"),
    # ids
    "repeated-document": Rule("error", "the document stood before, with the same text"),
    "conflicting-document": Rule("error", "the id stood before, with another text"),
    "repeated-query": Rule("error", "the query stood before, with the same text"),
    "conflicting-query": Rule("error", "the id stood before, with another text"),
    "bad-query-id": Rule("warning", "the id is empty or holds white space: it cannot be judged"),
    "commented-query-id": Rule(
        "error", "the id of a judged query starts with '#', for runs the mark of a comment"
    ),
    "commented-document-id": Rule("fact", "the id starts with '#': some tools take it for comment"),
    # judgments
    "unknown-query": Rule("error", "the judged query is not among the queries"),
    "unknown-document": Rule(
        "error", "the judged document is not in the corpus (unknown_documents: keep would allow it)"
    ),
    "repeated-judgment": Rule("error", "the pair was judged before, with the same grade"),
    "conflicting-judgment": Rule("error", "the pair was judged before, with another grade"),
    "negative-grade": Rule("warning", "counts as not relevant here, elsewhere perhaps as a loss"),
    "query-without-relevant": Rule(
        "warning", "no judged document is relevant: every run scores 0, or the query is left out"
    ),
    "query-without-judgments": Rule("fact", "no split judges the query: it is not asked"),
    "all-judged-relevant": Rule(
        "fact", "no judgment of the split says 'not relevant': unjudged counts as not relevant"
    ),
    # texts
    "judged-query-without-text": Rule("error", "a judged query has no text"),
    "query-without-text": Rule("warning", "a query without judgments has no text"),
    "document-without-text": Rule("warning", "nothing but white space: nobody can find it"),
    "document-without-words": Rule("warning", "has characters, but no letter and no digit"),
    "query-without-words": Rule("warning", "has characters, but no letter and no digit"),
    "broken-text": Rule("warning", "holds half of a surrogate pair, or U+FFFD for lost characters"),
    "unusually-long": Rule("fact", "longer than most by far: an encoder may cut it off"),
    "unusually-short": Rule("fact", "shorter than most by far"),
    # duplicates
    "duplicate-document": Rule("warning", "has the words of an earlier document"),
    "near-duplicate-document": Rule("warning", "has nearly the words of an earlier document"),
    "unjudged-copy": Rule(
        "warning", "has the words of a relevant document, but counts as not relevant: unjudged"
    ),
    "duplicate-query": Rule("warning", "has the words of an earlier query, judged in one split"),
    # self-retrieval
    "query-id-in-corpus": Rule(
        "fact", "a document has the query's id: if it is the query itself, use drop_self"
    ),
    "query-in-corpus": Rule("warning", "a document is the query itself: searching finds it first"),
    # leakage
    "splits-of-the-same-queries": Rule(
        "warning", "two splits judge the very same queries: two versions of one set, or all leaks"
    ),
    "query-in-two-splits": Rule("warning", "the query itself is also in another split"),
    "same-query-in-two-splits": Rule("warning", "has the words of a query of another split"),
    "near-query-in-two-splits": Rule("warning", "has nearly the words of a query of another split"),
    "judgment-in-two-splits": Rule("warning", "the judged pair is also in another split"),
    "relevant-in-two-splits": Rule("fact", "the document is relevant in another split too"),
    "query-in-training": Rule("warning", "has the words of a training query"),
    "near-query-in-training": Rule("warning", "has nearly the words of a training query"),
    "judgment-in-training": Rule("warning", "the judged pair is also in the training data"),
    "relevant-in-training": Rule("warning", "a relevant document is relevant in training, too"),
    "document-in-training": Rule("fact", "the document is in the training corpus, too"),
}
"""Each rule by name, in the order of reports within one severity."""

_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "fact": 2}


class Example(NamedTuple):
    """One place where a rule is broken.

    Parameters
    ----------
    place : str
        ``FILE:LINE``; or what there is instead of lines, such as ``document 'd7'``.
    text : str
        What is there.
    """

    place: str
    text: str


@dataclass(frozen=True)
class Finding:
    """All that breaks one rule.

    Parameters
    ----------
    rule : str
        A name of :data:`RULES`.
    count : int
        How often.
    examples : tuple of Example
        The first of them, as many as were asked for.
    """

    rule: str
    count: int
    examples: tuple[Example, ...]

    @property
    def severity(self) -> Severity:
        """How grave it is."""
        return RULES[self.rule].severity

    @property
    def meaning(self) -> str:
        """What it means."""
        return RULES[self.rule].meaning

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "count": self.count,
            "meaning": self.meaning,
            "examples": [one._asdict() for one in self.examples],
        }


@dataclass
class Notes:
    """Findings as they are made; memory holds the examples alone.

    Parameters
    ----------
    limit : int or None
        Examples kept of each rule; None keeps all.
    """

    limit: int | None = 20
    _found: dict[str, tuple[list[int], list[Example]]] = field(default_factory=dict)

    def add(self, rule: str, place: str, text: str) -> None:
        """Note one place."""
        self.add_all(rule, 1, [(place, text)])

    def add_all(self, rule: str, count: int, places: Iterable[tuple[str, str]]) -> None:
        """Note several places; only as many are drawn from the iterable as are kept."""
        if not count:
            return
        counts, examples = self._found.setdefault(rule, ([0], []))
        counts[0] += count
        for place, text in places:
            if self.limit is not None and len(examples) >= self.limit:
                break
            examples.append(Example(place, text))

    def add_rows(
        self, rule: str, rows: Iterable[int], describe: Callable[[int], tuple[str, str]]
    ) -> None:
        """Note rows, described only as far as they are kept."""
        listed = list(rows)
        self.add_all(rule, len(listed), (describe(row) for row in listed))

    def findings(self) -> tuple[Finding, ...]:
        """Return what was found, the gravest first."""
        names = sorted(self._found, key=lambda name: (_ORDER[RULES[name].severity], _PLACE[name]))
        return tuple(
            Finding(name, self._found[name][0][0], tuple(self._found[name][1])) for name in names
        )


_PLACE = {name: place for place, name in enumerate(RULES)}


@dataclass(frozen=True, eq=False)
class Validation:
    """What a validation found.

    Parameters
    ----------
    dataset : str
        Name or folder.
    findings : tuple of Finding
        The gravest first.
    sizes : mapping
        Counts of documents, queries, and judgments of each split; quantiles of lengths.
    options : mapping
        What was looked for, and how.
    """

    dataset: str
    findings: tuple[Finding, ...]
    sizes: Mapping[str, Any]
    options: Mapping[str, Any]

    @property
    def passed(self) -> bool:
        """Whether there is no error: loading would not refuse."""
        return not any(one.severity == "error" for one in self.findings)

    def __getitem__(self, rule: str) -> Finding:
        """Return what was found by a rule; nothing, if it was not broken."""
        found = {one.rule: one for one in self.findings}
        return found.get(rule) or Finding(rule if rule in RULES else _unknown(rule), 0, ())

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "dataset": self.dataset,
            "passed": self.passed,
            "sizes": dict(self.sizes),
            "options": dict(self.options),
            "findings": [one.as_dict() for one in self.findings],
        }


def _unknown(rule: str) -> str:
    raise KeyError(rule)
