"""What a configuration costs, and what it has to reach: texts such as ``size_bytes <= 1e9``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.evaluation import Measure

__all__ = ["COSTS", "Cost", "Goal", "find_column", "finite_number"]

COSTS: Mapping[str, str] = {
    "latency_p50_s": "median seconds of a single query",
    "latency_p95_s": "seconds of a single query, 95th percentile",
    "latency_p99_s": "seconds of a single query, 99th percentile",
    "qps": "queries per second in one batch; the cost is its reciprocal",
    "size_bytes": "bytes of the saved index",
    "peak_rss_bytes": "peak resident memory of a process that loads the index and searches",
    "build_s": "seconds to build the index",
    "train_s": "of these, seconds to train it",
    "encode_documents_s": "seconds to encode the documents",
    "encode_queries_s": "seconds to encode the queries",
    "combine_s": "seconds to combine runs",
}
_HIGHER_IS_CHEAPER = "qps"

_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_GOAL = re.compile(r"\s*(?P<column>.*?[^\s<>=])\s*(?P<sign><=|>=|<|>)\s*(?P<bound>[^\s<>=]+)\s*")
_TERM = re.compile(r"\s*(?:(?P<weight>[^\s*]+)\s*\*\s*)?(?P<column>\w+)\s*")


def finite_number(text: str, where: str) -> float:
    """Read a number as it is written in JSON, or raise :class:`InputError`.

    Examples
    --------
    >>> finite_number("1e9", "size")
    1000000000.0
    """
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {text!r} is no finite number")
    return value


def find_column(name: str, columns: Iterable[str], kind: str, where: str) -> str:
    """Return the column that a name means: its own, or that of a measure written otherwise.

    Examples
    --------
    >>> find_column("AP(rel=1)@100", ["AP@100"], "measure", "")
    'AP@100'
    """
    known = list(columns)
    if name in known:
        return name
    try:
        canonical = str(Measure.parse(name))
    except InputError:
        canonical = ""
    if canonical in known:
        return canonical
    raise unknown_name(kind, name, known, where)


@dataclass(frozen=True)
class Goal:
    """What a configuration has to reach.

    Parameters
    ----------
    column : str
        A column of ``results.parquet``, such as ``size_bytes`` or ``neighbour_recall@10``, or a
        measure.
    sign : {'<=', '>=', '<', '>'}
        On which side of the bound it must lie.
    bound : float
        In the unit of the column.

    Examples
    --------
    >>> goal = Goal.parse("latency_p95_s <= 0.002")
    >>> goal.met(0.0015), str(goal)
    (True, 'latency_p95_s <= 0.002')
    """

    column: str
    sign: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Goal:
        """Read ``COLUMN SIGN NUMBER``; raise :class:`InputError` for anything else."""
        found = _GOAL.fullmatch(text)
        if not found:
            raise InputError(
                f"goal {text!r}: expected COLUMN, one of {', '.join(_SIGNS)}, and a number, such "
                "as 'latency_p95_s <= 0.002'"
            )
        bound = finite_number(found["bound"], f"goal {text!r}")
        return cls(found["column"], found["sign"], bound)

    def met(self, value: float) -> bool:
        """Whether a value lies on the right side; NaN never does."""
        return _SIGNS[self.sign](value, self.bound)

    def __str__(self) -> str:
        return f"{self.column} {self.sign} {self.bound:g}"


@dataclass(frozen=True)
class Cost:
    """What a configuration costs; less is better.

    Parameters
    ----------
    weights : tuple of (str, float)
        Columns of :data:`COSTS` and their weights. One column of weight 1 counts in its own unit;
        otherwise each is divided by the reference's before it is weighted.

    Examples
    --------
    >>> Cost.parse("latency_p95_s").is_relative
    False
    >>> str(Cost.parse("0.7 * latency_p95_s + 0.3 * size_bytes"))
    '0.7*latency_p95_s + 0.3*size_bytes'
    """

    weights: tuple[tuple[str, float], ...]

    @classmethod
    def parse(cls, text: str) -> Cost:
        """Read a column, or a sum of columns with weights."""
        where = f"cost {text!r}"
        weights: dict[str, float] = {}
        # The plus of an exponent, as in 1e+2, is none between terms.
        for term in re.split(r"(?<![0-9.][eE])\+", text):
            found = _TERM.fullmatch(term)
            if not found:
                raise InputError(
                    f"{where}: expected a column such as latency_p95_s, or a sum such as "
                    "'0.7*latency_p95_s + 0.3*size_bytes'"
                )
            column = found["column"]
            if column not in COSTS:
                raise unknown_name("cost", column, COSTS)
            if column in weights:
                raise InputError(f"{where}: {column} stands in it twice")
            weight = 1.0 if found["weight"] is None else finite_number(found["weight"], where)
            if weight <= 0:
                raise InputError(f"{where}: the weight {weight:g} must be above 0")
            weights[column] = weight
        return cls(tuple(weights.items()))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it needs."""
        return tuple(column for column, _ in self.weights)

    @property
    def is_relative(self) -> bool:
        """Whether it is a share of the reference's cost rather than a figure with a unit."""
        return len(self.weights) > 1 or self.weights[0][1] != 1

    def of(self, row: Mapping[str, object], reference: Mapping[str, object]) -> float:
        """Return the cost of a row beside its reference; NaN if a figure is missing."""
        if not self.is_relative:
            return _price(row, self.weights[0][0])
        total = 0.0
        for column, weight in self.weights:
            own, other = _price(row, column), _price(reference, column)
            total += weight * own / other if other > 0 else math.nan
        return total

    def __str__(self) -> str:
        if not self.is_relative:
            return self.weights[0][0]
        return " + ".join(f"{weight:g}*{column}" for column, weight in self.weights)


def _price(row: Mapping[str, object], column: str) -> float:
    value = row.get(column)
    if not isinstance(value, int | float) or not value >= 0 or not math.isfinite(value):
        return math.nan
    if column == _HIGHER_IS_CHEAPER:
        return 1 / value if value > 0 else math.nan
    return float(value)
