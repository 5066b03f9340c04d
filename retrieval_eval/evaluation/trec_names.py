"""trec_eval's names of measures: ``ndcg_cut.10``, ``ndcg_cut_10``, ``P``, ``map``, ``official``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.evaluation.measures import ALIASES, MEASURES, Measure

__all__ = ["TREC_NAMES", "TrecName", "parse_measures", "trec_name"]

_CUTS = ("5", "10", "15", "20", "30", "100", "200", "500", "1000")
_LEVELS = tuple(f"{level / 10:.2f}" for level in range(11))


@dataclass(frozen=True)
class TrecName:
    """One of trec_eval's names.

    Parameters
    ----------
    measure : str
        What it is here, with ``{}`` for its parameter; ``{rel}`` for the relevance level.
    cuts : tuple of str
        Parameters if none is given.
    whole : bool
        Whether it is a count, which trec_eval adds up instead of averaging.
    per_query : bool
        Whether it is printed for each query.
    official : bool
        Whether it is among those that trec_eval prints unasked.
    """

    measure: str
    cuts: tuple[str, ...] = ()
    whole: bool = False
    per_query: bool = True
    official: bool = False


TREC_NAMES: Mapping[str, TrecName] = {  # in the order in which trec_eval prints them
    "num_ret": TrecName("NumRet", whole=True, official=True),
    "num_rel": TrecName("NumRel", whole=True, official=True),
    "num_rel_ret": TrecName("NumRet(rel={rel})", whole=True, official=True),
    "map": TrecName("AP", official=True),
    "gm_map": TrecName("AP(mean='geometric')", per_query=False, official=True),
    "Rprec": TrecName("Rprec", official=True),
    "bpref": TrecName("Bpref", official=True),
    "recip_rank": TrecName("RR", official=True),
    "iprec_at_recall": TrecName("IPrec@{}", _LEVELS, official=True),
    "P": TrecName("P@{}", _CUTS, official=True),
    "recall": TrecName("R@{}", _CUTS),
    "infAP": TrecName("infAP"),
    "gm_bpref": TrecName("Bpref(mean='geometric')", per_query=False),
    "ndcg": TrecName("nDCG"),
    "ndcg_cut": TrecName("nDCG@{}", _CUTS),
    "map_cut": TrecName("AP@{}", _CUTS),
    "relative_P": TrecName("CappedR@{}", _CUTS),
    "success": TrecName("Success@{}", ("1", "5", "10")),
    "set_P": TrecName("SetP"),
    "set_relative_P": TrecName("SetP(relative=True)"),
    "set_recall": TrecName("SetR"),
    "set_map": TrecName("SetAP"),
    "set_F": TrecName("SetF(beta={})", ("1.0",)),
}
"""Those that are computed here, by name."""

_FORM = re.compile(r"([A-Za-z][A-Za-z_]*?)(?:[._]([0-9][0-9.,]*))?")


def parse_measures(
    texts: Sequence[str], where: str = "", defaults: Mapping[str, Any] | None = None
) -> list[Measure]:
    """Read measures in the grammar, or by trec_eval's names, which may stand for several.

    Parameters
    ----------
    texts : sequence of str
        For instance ``["nDCG@10", "ndcg_cut.5,10", "P_5", "official"]``.
    where : str
        Where they stand, for messages.
    defaults : mapping of str to object, optional
        Values of parameters that are not given.

    Raises
    ------
    InputError
        If a name is neither.

    Examples
    --------
    >>> [str(measure) for measure in parse_measures(["ndcg_cut.5,10", "map", "RR@10"])]
    ['nDCG@5', 'nDCG@10', 'AP', 'RR@10']
    """
    found: list[Measure] = []
    for text in texts:
        found += _parse(text.strip(), where, defaults or {})
    return list(dict.fromkeys(found))


def _parse(text: str, where: str, defaults: Mapping[str, Any]) -> list[Measure]:
    if text == "official":
        names = [name for name, one in TREC_NAMES.items() if one.official]
        return [measure for name in names for measure in _parse(name, where, defaults)]
    if text == "all_trec":
        return [measure for name in TREC_NAMES for measure in _parse(name, where, defaults)]
    form = _FORM.fullmatch(text)
    if not form or form[1] not in TREC_NAMES:
        stem = re.split(r"[.(@]", text)[0]
        if re.fullmatch(r"\w+", stem) and stem not in MEASURES and stem not in ALIASES:
            raise unknown_name("measure", stem, {*MEASURES, *ALIASES, *TREC_NAMES}, where)
        return [Measure.parse(text, where, defaults)]
    one = TREC_NAMES[form[1]]
    cuts: Sequence[str] = one.cuts or ("",)
    if form[2]:
        if not one.cuts:
            prefix = f"{where}: " if where else ""
            raise InputError(f"{prefix}measure {text!r}: {form[1]} takes no parameter")
        cuts = form[2].split(",")
    if "{rel}" in one.measure:
        return [Measure.parse(one.measure.format(rel=defaults.get("rel", 1)), where)]
    return [Measure.parse(one.measure.format(cut), where, defaults) for cut in cuts]


def trec_name(measure: Measure, defaults: Mapping[str, Any]) -> tuple[str, TrecName | None, int]:
    """Return trec_eval's name of a measure, what stands behind it, and its place in the output.

    Measures that trec_eval has not keep their own name, and come last.

    Examples
    --------
    >>> trec_name(Measure.parse("nDCG@10"), {})[0]
    'ndcg_cut_10'
    """
    for place, (name, one) in enumerate(TREC_NAMES.items()):
        if re.split("[(@]", one.measure)[0] != measure.name:
            continue
        cut = ""
        if measure.name == "SetF":
            cut = str(measure["beta"])
        elif measure.cutoff is not None:
            cut = str(measure.cutoff)
        if bool(one.cuts) != bool(cut):
            continue
        meant = one.measure.format(cut, rel=defaults.get("rel", 1))
        open_ = {} if "{rel}" in one.measure else defaults
        if Measure.parse(meant, defaults=open_) == measure:
            if name == "set_F":
                cut = "" if cut == "1.0" else cut
            elif measure.name == "IPrec":
                cut = f"{measure.cutoff:.2f}"
            return f"{name}_{cut}" if cut else name, one, place
    return str(measure), None, len(TREC_NAMES)
