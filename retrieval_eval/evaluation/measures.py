"""Measures as values: their grammar, parameters, ranges and definitions.

The grammar is that of ir-measures: ``Name(parameter=value, ...)@cutoff``. What is computed, and
where, stands elsewhere; declaring a measure computes nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from retrieval_eval.errors import InputError, unknown_name

__all__ = [
    "ALIASES",
    "MEASURES",
    "Measure",
    "MeasureSpec",
    "measure_depth",
    "parse_measure",
    "require_means",
    "value_limits",
]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a measure.

    Parameters
    ----------
    rule : str
        What it may be, for messages and listings.
    default : object
        What it is where it is not given; None if it need not be given at all.
    check : callable
        Whether a value keeps the rule.
    """

    rule: str
    default: Any
    check: Callable[[Any], bool]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_int(value) or isinstance(value, float)


def _are_gains(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _is_int(grade) and _is_number(gain) and 0 <= gain < float("inf")
        for grade, gain in value.items()
    )


_REL = Parameter(
    "a grade from 1: documents of it or above are relevant", 1, lambda v: _is_int(v) and v >= 1
)
_JUDGED_ONLY = Parameter(
    "True for condensed lists: unjudged documents are removed first",
    False,
    lambda v: isinstance(v, bool),
)
_MEAN = Parameter(
    "'arithmetic', or 'geometric' with values below 0.00001 raised to it",
    "arithmetic",
    lambda v: v in {"arithmetic", "geometric"},
)
_DCG = Parameter(
    "'log2' for gain = grade, 'exp-log2' for gain = 2^grade - 1",
    "log2",
    lambda v: v in {"log2", "exp-log2"},
)
_GAINS = Parameter("gains by grade, as {1:1,2:3}; grades left out keep theirs", None, _are_gains)
_BETA = Parameter(
    "a number above 0: the weight of recall", 1.0, lambda v: _is_number(v) and 0 < v < 1e6
)
_P = Parameter("persistence, between 0 and 1", 0.8, lambda v: _is_number(v) and 0 < v < 1)
_MAX_REL = Parameter(
    "the highest grade of the scale, 1 to 50", 4, lambda v: _is_int(v) and 1 <= v <= 50
)
_RELATIVE = Parameter("True to divide by min(R, returned)", False, lambda v: isinstance(v, bool))
_DISTRACTORS = Parameter("a number from 1", 999, lambda v: _is_int(v) and v >= 1)
_SEED = Parameter("a whole number from 0", 0, lambda v: _is_int(v) and v >= 0)
_NORMALIZE = Parameter("True or False", True, lambda v: isinstance(v, bool))

_TREC = "trec_eval"


@dataclass(frozen=True)
class MeasureSpec:
    """What a name means.

    Parameters
    ----------
    definition : str
        Of its value for a query; R is the number of relevant documents, k the cut-off.
    source : str
        Where the definition comes from.
    parameters : mapping of str to Parameter
        What may stand in the brackets.
    cutoff : {'none', 'optional', 'required', 'recall'}
        Whether ``@k`` follows, or a recall level.
    range : str
        Of its values.
    expected_ties : bool
        Whether its expected value over tied orders is known in closed form.
    averaged : bool
        Whether its aggregate is a mean over queries.
    external : bool
        Whether ir-measures computes it.
    """

    definition: str
    source: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    cutoff: str = "none"
    range: str = "0 to 1"
    expected_ties: bool = True
    averaged: bool = True
    external: bool = False


def _binary(**more: Parameter) -> dict[str, Parameter]:
    return {"rel": _REL, "judged_only": _JUDGED_ONLY, "mean": _MEAN, **more}


_GRADED = {"dcg": _DCG, "gains": _GAINS, "judged_only": _JUDGED_ONLY, "mean": _MEAN}

MEASURES: Mapping[str, MeasureSpec] = MappingProxyType(
    {
        "nDCG": MeasureSpec(
            "DCG over that of the ideal order of all judged documents; 0 if no gain is positive",
            f"Järvelin & Kekäläinen 2002; {_TREC} ndcg, ndcg_cut",
            _GRADED,
            cutoff="optional",
        ),
        "DCG": MeasureSpec(
            "sum of gain / log2(rank + 1); gain = grade, negative grades 0",
            "Järvelin & Kekäläinen 2002",
            {name: _GRADED[name] for name in ("dcg", "gains", "judged_only")},
            cutoff="optional",
            range="0 and above",
        ),
        "RR": MeasureSpec(
            "1 / rank of the first relevant document; 0 if there is none up to k. Its mean is MRR",
            f"{_TREC} recip_rank (which has no k)",
            _binary(),
            cutoff="optional",
        ),
        "R": MeasureSpec(
            "relevant documents up to k, over R", f"{_TREC} recall", _binary(), cutoff="required"
        ),
        "CappedR": MeasureSpec(
            "relevant documents up to k, over min(R, k)",
            "BEIR's capped recall (Thakur et al. 2021)",
            _binary(),
            cutoff="required",
        ),
        "P": MeasureSpec(
            "relevant documents up to k, over k, even where fewer are returned",
            f"{_TREC} P",
            _binary(),
            cutoff="required",
        ),
        "AP": MeasureSpec(
            "sum of the precision at each relevant document up to k, over R. Its mean is MAP",
            f"{_TREC} map, map_cut; gm_map with mean='geometric'",
            _binary(),
            cutoff="optional",
        ),
        "CappedAP": MeasureSpec(
            "sum of the precision at each relevant document up to k, over min(R, k)",
            "Google Landmarks v2's mAP@100 (Weyand et al. 2020)",
            _binary(),
            cutoff="required",
        ),
        "Success": MeasureSpec(
            "1 if a relevant document stands up to k, else 0",
            f"{_TREC} success",
            _binary(),
            cutoff="required",
        ),
        "Sufficiency": MeasureSpec(
            "1 if all relevant documents stand up to k, else 0; 0 if R = 0",
            "tool retrieval; never above R@k",
            _binary(),
            cutoff="required",
        ),
        "Rprec": MeasureSpec("precision at rank R", f"{_TREC} Rprec", _binary()),
        "Bpref": MeasureSpec(
            "mean over R of 1 - min(judged non-relevant documents before, R) / min(N, R), N their "
            "number in the judgments",
            f"Buckley & Voorhees 2004; {_TREC} bpref",
            {"rel": _REL, "mean": _MEAN},
        ),
        "infAP": MeasureSpec(
            "AP inferred from judgments that are a sample of a pool",
            f"Yilmaz & Aslam 2006; {_TREC} infAP, by ir-measures",
            {"rel": _REL},
            expected_ties=False,
            external=True,
        ),
        "IPrec": MeasureSpec(
            "highest precision at any recall from that level on, @0 to @1",
            f"{_TREC} iprec_at_recall",
            _binary(),
            cutoff="recall",
            expected_ties=False,
        ),
        "RBP": MeasureSpec(
            "(1 - p) times the sum of p^(rank - 1) over relevant documents",
            "Moffat & Zobel 2008",
            _binary(p=_P),
            cutoff="optional",
        ),
        "ERR": MeasureSpec(
            "expected 1 / rank where a reader stops, who stops at a document with probability "
            "(2^grade - 1) / 2^max_rel",
            "Chapelle et al. 2009; gdeval, whose max_rel is 4",
            {"max_rel": _MAX_REL, "judged_only": _JUDGED_ONLY, "mean": _MEAN},
            cutoff="optional",
            expected_ties=False,
        ),
        "Judged": MeasureSpec(
            "documents up to k that were judged at all, over min(k, returned); 0 if none returned",
            "ir-measures (other tools divide by k)",
            cutoff="optional",
        ),
        "NumRet": MeasureSpec(
            "returned documents; with rel=, the relevant ones among them",
            f"{_TREC} num_ret, num_rel_ret, where the aggregate is the sum",
            {"rel": replace(_REL, default=None)},
            range="0 and above",
        ),
        "NumRel": MeasureSpec(
            "R itself",
            f"{_TREC} num_rel, where the aggregate is the sum",
            {"rel": _REL},
            range="0 and above",
        ),
        "SetP": MeasureSpec(
            "relevant documents returned, over documents returned",
            f"{_TREC} set_P, set_relative_P",
            _binary(relative=_RELATIVE),
        ),
        "SetR": MeasureSpec(
            "relevant documents returned, over R", f"{_TREC} set_recall", _binary()
        ),
        "SetF": MeasureSpec(
            "weighted harmonic mean of SetP and SetR: (beta + 1) P R / (beta P + R); "
            "beta is not squared",
            f"{_TREC} set_F; ir-measures",
            _binary(beta=_BETA),
        ),
        "SetAP": MeasureSpec("SetP times SetR", f"{_TREC} set_map", _binary()),
        "GAP": MeasureSpec(
            "AP of one list of all queries' documents by score, over all relevant documents; "
            "for a query, its part in that, times the number of queries",
            "micro AP of Perronnin et al. 2009, as used by Google Landmarks",
            {"rel": _REL},
            expected_ties=False,
            averaged=False,
            range="0 to 1 over all queries",
        ),
        "SampledRR": MeasureSpec(
            "1 / rank of a query's only relevant document among those of its batch of shuffled "
            "queries, equal scores before it; queries of the incomplete batch are left out",
            "CodeSearchNet (Husain et al. 2019)",
            {"distractors": _DISTRACTORS, "seed": _SEED},
            expected_ties=False,
            averaged=False,
        ),
        "Compat": MeasureSpec(
            "rank-biased overlap with the closest ideal order",
            "Clarke, Vtyurina & Smucker 2020, by ir-measures",
            {"p": replace(_P, default=0.95), "normalize": _NORMALIZE},
            expected_ties=False,
            external=True,
        ),
    }
)
"""All measures by name."""

ALIASES = MappingProxyType(
    {
        "NDCG": "nDCG",
        "MRR": "RR",
        "MAP": "AP",
        "Recall": "R",
        "Precision": "P",
        "RPrec": "Rprec",
        "BPref": "Bpref",
        "GMAP": "AP(mean='geometric')",
        "NumRelRet": "NumRet(rel=1)",
        "mAP": "AP",
        "microAP": "GAP",
    }
)
"""Other names of measures; what is printed is the name they stand for."""

_FORM = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:\((.*)\))?\s*(?:@\s*([^@\s]+))?\s*", re.DOTALL)


@dataclass(frozen=True)
class Measure:
    """A measure with its parameters; equal ones have one string.

    Parameters
    ----------
    name : str
        A key of `MEASURES`.
    given : tuple of (str, value) pairs
        Parameters that differ from their defaults, in the order of the definition; gains as a
        tuple of (grade, gain) pairs.
    cutoff : int, float or None
        Rank, or recall level for IPrec.

    Examples
    --------
    >>> measure = Measure.parse("AP( rel = 2 )@100")
    >>> str(measure), measure["rel"], measure["judged_only"], measure.cutoff
    ('AP(rel=2)@100', 2, False, 100)
    >>> Measure.parse("MRR@10") == Measure.parse("RR(rel=1)@10")
    True
    """

    name: str
    given: tuple[tuple[str, Any], ...] = ()
    cutoff: int | float | None = None

    @property
    def spec(self) -> MeasureSpec:
        """Its definition."""
        return MEASURES[self.name]

    @property
    def is_geometric(self) -> bool:
        """Whether its aggregate is the geometric mean."""
        return "mean" in self.spec.parameters and bool(self["mean"] == "geometric")

    @property
    def is_mean(self) -> bool:
        """Whether its aggregate is the mean of its values over queries."""
        return self.spec.averaged and not self.is_geometric

    def __getitem__(self, parameter: str) -> Any:
        return dict(self.given).get(parameter, self.spec.parameters[parameter].default)

    def __str__(self) -> str:
        shown = ",".join(f"{name}={_shown(value)}" for name, value in self.given)
        brackets = f"({shown})" if shown else ""
        cut = "" if self.cutoff is None else f"@{self.cutoff}"
        return f"{self.name}{brackets}{cut}"

    @classmethod
    def parse(
        cls, text: str, where: str = "", defaults: Mapping[str, Any] = MappingProxyType({})
    ) -> Measure:
        """Read a measure; see :func:`parse_measure`.

        Parameters
        ----------
        text, where : str
            The measure, and where it stands.
        defaults : mapping of str to object
            Values of parameters, for measures that have them and where they are not given.
        """
        prefix = f"{where}: " if where else ""
        form = _FORM.fullmatch(text)
        if not form:
            raise InputError(
                f"{prefix}measure {text!r} cannot be read: expected Name(parameter=value)@k, "
                "such as nDCG@10 or AP(rel=2)@100"
            )
        name, inside, at = form.groups()
        given: dict[str, Any] = {}
        alias = ALIASES.get(name, name)
        if "(" in alias:
            base = cls.parse(alias)
            alias, given = base.name, dict(base.given)
        if alias not in MEASURES:
            raise unknown_name("measure", name, [*MEASURES, *ALIASES], where)
        spec = MEASURES[alias]
        complaint = f"{prefix}measure {text!r}"
        for key, value in _arguments(inside or "", complaint).items():
            if key == "cutoff" and at is None:
                at = str(value)
                continue
            if key not in spec.parameters:
                raise unknown_name(f"parameter of {alias}", key, spec.parameters, complaint)
            parameter = spec.parameters[key]
            if not parameter.check(value):
                raise InputError(f"{complaint}: {key}={value!r} is not {parameter.rule}")
            given[key] = value
        open_ = {name: value for name, value in defaults.items() if name in spec.parameters}
        if alias == "NumRet":  # with a level it counts something else
            open_.pop("rel", None)
        return _build(alias, {**open_, **given}, _cutoff(spec, at, complaint, alias))


def _build(name: str, given: Mapping[str, Any], cutoff: int | float | None) -> Measure:
    kept = []
    for key, parameter in MEASURES[name].parameters.items():
        value = given.get(key, parameter.default)
        if isinstance(value, Mapping):
            value = tuple(sorted((g, _number(gain)) for g, gain in value.items() if g != gain))
            if not value:
                continue
        if isinstance(parameter.default, float):
            value = float(value)
        if value != parameter.default:
            kept.append((key, value))
    return Measure(name, tuple(kept), cutoff)


def _number(value: float) -> float:
    return int(value) if float(value).is_integer() else float(value)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "{" + ",".join(f"{grade}:{gain}" for grade, gain in value) + "}"
    return repr(value)


def _arguments(inside: str, complaint: str) -> dict[str, Any]:
    """Read ``name=literal, ...``; nothing is evaluated."""
    if len(inside) > 1000:
        raise InputError(f"{complaint[:200]}... cannot be read: it is too long")
    try:
        call = ast.parse(f"f({inside})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError("expected parameter=value")
        if any(keyword.arg is None for keyword in call.keywords):
            raise ValueError("expected parameter=value")
        return {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        reason = str(error).split(" (<")[0].split(":")[0]
        raise InputError(f"{complaint} cannot be read: {reason}") from None


def _cutoff(spec: MeasureSpec, at: str | None, complaint: str, name: str) -> int | float | None:
    if at is None:
        if spec.cutoff == "recall":
            raise InputError(f"{complaint} needs a recall level, such as {name}@0.1")
        if spec.cutoff == "required":
            raise InputError(f"{complaint} needs a cut-off, such as {name}@10")
        return None
    if spec.cutoff == "none":
        raise InputError(f"{complaint}: {name} has no cut-off; write {name}")
    if spec.cutoff == "recall":
        try:
            level = float(at)
        except ValueError:
            level = -1.0
        if not 0 <= level <= 1:
            raise InputError(f"{complaint}: {at!r} is no recall level between 0 and 1")
        return level
    if not re.fullmatch("[0-9]{1,9}", at) or int(at) == 0:
        raise InputError(f"{complaint}: the cut-off {at!r} is not a whole number from 1")
    return int(at)


def parse_measure(text: str, where: str = "") -> str:
    """Check the name of a measure, and return it in its canonical form.

    Parameters
    ----------
    text : str
        A measure in the grammar of ir-measures, for instance ``nDCG@10`` or ``AP(rel=2)@100``.
    where : str, optional
        File or option where it stands, for the message.

    Raises
    ------
    InputError
        If it is no measure, or its parameters or cut-off break their rule.

    Examples
    --------
    >>> parse_measure("AP(judged_only=False, rel=2)@100")
    'AP(rel=2)@100'
    >>> parse_measure("ndgc@10")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    retrieval_eval.errors.InputError: unknown measure 'ndgc'. Did you mean 'nDCG'? Available: ...
    """
    return str(Measure.parse(text, where))


def require_means(measures: Iterable[str], where: str = "") -> None:
    """Raise for a measure whose aggregate is no mean over queries: its differences are none either.

    Raises
    ------
    InputError
        Naming the first such measure.

    Examples
    --------
    >>> require_means(["AP", "GMAP"])
    Traceback (most recent call last):
    ...
    retrieval_eval.errors.InputError: measure "AP(mean='geometric')" is no mean over queries, so \
runs cannot be compared by it query by query
    """
    for name in measures:
        measure = Measure.parse(name)
        if not measure.is_mean:
            prefix = f"{where}: " if where else ""
            raise InputError(
                f"{prefix}measure {str(measure)!r} is no mean over queries, so runs cannot be "
                "compared by it query by query"
            )


def measure_depth(measure: str) -> int | None:
    """Return the rank at which a measure cuts the list, or None if it has no cut-off.

    Examples
    --------
    >>> measure_depth("R@100"), measure_depth("AP")
    (100, None)
    """
    cutoff = Measure.parse(measure).cutoff
    return cutoff if isinstance(cutoff, int) else None


def value_limits(measure: str) -> tuple[float, float]:
    """Return the smallest and the largest mean that a measure can have.

    Examples
    --------
    >>> value_limits("nDCG@10"), value_limits("NumRet")
    ((0.0, 1.0), (0.0, inf))
    """
    known = {"0 to 1": (0.0, 1.0), "0 and above": (0.0, float("inf"))}
    return known.get(Measure.parse(measure).spec.range, (-float("inf"), float("inf")))
