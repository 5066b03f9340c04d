"""The sweep file: strict keys, and errors that name the line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Gt, Lt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, ValidationError

from retrieval_eval.catalogue import catalogue_file, catalogue_names
from retrieval_eval.comparison import CompareOptions
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.evaluation import parse_measure
from retrieval_eval.parameters import Entry, make_parameters
from retrieval_eval.timing import TimingOptions

__all__ = [
    "CompareSection",
    "Sweep",
    "SweepError",
    "line_of",
    "load_sweep",
    "located",
    "sweep_file",
]

_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())


@dataclass(frozen=True)
class CompareSection:
    """How rows are compared.

    Parameters
    ----------
    reference : str or None
        Name (or label) of the index that the others are compared with, for each dataset and
        encoder. None: ``flat`` if the sweep has it.
    test, correction, family, alpha, draws, margin_test, interval
        As in :class:`retrieval_eval.comparison.CompareOptions`; all comparisons of a dataset are
        one family, or those of each measure.
    margin : mapping of str to float
        Accepted loss for some measures: adds tests of non-inferiority and equivalence.
    """

    reference: str | None = None
    test: Literal["randomization", "t", "wilcoxon", "sign", "bootstrap"] = "randomization"
    correction: Literal["none", "bonferroni", "holm", "bh", "by"] = "holm"
    family: Literal["all", "measure"] = "all"
    alpha: Annotated[float, Gt(0), Lt(1)] = 0.05
    draws: Annotated[int, Ge(100)] | None = None
    margin: dict[str, Annotated[float, Gt(0)]] = field(default_factory=dict)
    margin_test: Literal["hall", "t", "randomization", "bootstrap"] = "hall"
    interval: Literal["t", "percentile", "bca"] = "t"

    def options(self, seed: int) -> CompareOptions:
        """Return the options of the comparisons, measures of margins in canonical form."""
        return CompareOptions(
            test=self.test,
            correction=self.correction,
            family=self.family,
            alpha=self.alpha,
            margins={parse_measure(name): margin for name, margin in self.margin.items()},
            margin_test=self.margin_test,
            interval=self.interval,
            draws=self.draws,
            seed=seed,
        )


class SweepError(InputError):
    """A defect of a sweep, with the path of keys that leads to it."""

    def __init__(self, message: str, location: tuple[int | str, ...]) -> None:
        super().__init__(message)
        self.location = location


def _options(cls: type[Any], key: str) -> BeforeValidator:
    """Read a mapping below a key as a parameter dataclass, strictly."""

    def read(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"{key} must hold keys of its own")
        for name in value:  # one at a time, to know which line is to blame
            with located(key, name):
                make_parameters(cls, {name: value[name]}, key)
        return make_parameters(cls, value, key)

    return BeforeValidator(read)


_Compare = Annotated[InstanceOf[CompareSection], _options(CompareSection, "compare")]
_Timing = Annotated[InstanceOf[TimingOptions], _options(TimingOptions, "timing")]


class Sweep(BaseModel):
    """A sweep: datasets x encoders x indexes x search settings.

    Attributes
    ----------
    name : str
        Names the folder of results.
    datasets, encoders, indexes : list
        Names, or mappings of one name to its parameters. A list in a parameter is a grid; below
        ``search`` of an index stand search settings, which never rebuild. The key ``label`` names
        an entry in tables.
    combine : list
        Rows made of others: names of combiners with their parameters, and ``of``: what is combined.
        That is the label of an encoder (its reference row), a configuration as tables show it
        (``minilm | hnsw M=16 ef=100``), or the label of an earlier combination.
    filters : list
        Searches that only some documents answer: each a mapping of attribute to what it must be
        (see :meth:`retrieval_eval.filters.Filter.parse`), or ``none``. Every configuration is run
        with each; judgments of documents that do not pass are left out.
    metric : {'cosine', 'ip', 'l2'}
        Similarity of dense embeddings; sparse ones are compared by inner product.
    embeddings : {'float32', 'float16'}
        Element type in which embeddings of documents are kept in the cache.
    health : bool
        Whether to look at the dense embeddings without labels: see :mod:`retrieval_eval.health`.
    build_seeds : int
        How often an index is built whose builds differ, each with another seed; the table keeps
        the lowest and highest result beside that of `seed`.
    k : int
        Hits a query; at least as deep as the measures.
    measures : list of str
        In the grammar of ir-measures.
    neighbour_recall : int
        The k of recall against exact search; at most `k`.
    compare : CompareSection
        How rows are compared.
    timing : TimingOptions
        How cost is measured.
    seed : int
        Of everything random.

    Raises
    ------
    InputError
        For an unknown key (with a suggestion) or an unusable value.

    Examples
    --------
    >>> Sweep(name="s", datasets=["stdlib"], encoders=["lsa"], indexes=["flat"]).k
    100
    """

    model_config = _STRICT

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    datasets: Annotated[list[Entry], Field(min_length=1)]
    encoders: Annotated[list[Entry], Field(min_length=1)]
    indexes: Annotated[list[Entry], Field(min_length=1)]
    combine: list[Entry] = []
    filters: Annotated[list[dict[str, Any] | Literal["none"] | None], Field(min_length=1)] = [None]
    metric: Literal["cosine", "ip", "l2"] = "cosine"
    embeddings: Literal["float32", "float16"] = "float32"
    health: bool = False
    k: Annotated[int, Field(ge=1)] = 100
    measures: Annotated[list[str], Field(min_length=1)] = ["nDCG@10", "RR@10", "R@100"]
    neighbour_recall: Annotated[int, Field(ge=1)] = 10
    compare: _Compare = CompareSection()
    timing: _Timing = TimingOptions()
    seed: Annotated[int, Field(ge=0)] = 0
    build_seeds: Annotated[int, Field(ge=1)] = 1

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _explain(error) from None
        if self.neighbour_recall > self.k:
            raise SweepError(
                f"neighbour_recall is {self.neighbour_recall}, but only k={self.k} hits are asked "
                "for: raise k or lower it",
                ("neighbour_recall",),
            )


_HINTS = {
    "name": "letters, digits, '.', '_' and '-' only: it names a folder",
    "datasets": "a name, or one name with its parameters",
    "encoders": "a name, or one name with its parameters",
    "indexes": "a name, or one name with its parameters",
    "combine": "one name with its parameters, and 'of'",
    "filters": "none, or attributes with what they must be, such as {lang: [en, de]}",
}


def _explain(error: ValidationError) -> SweepError:
    """Turn pydantic's first complaint into a sentence of ours."""
    errors = error.errors()
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    location = tuple(first["loc"])
    key = str(location[-1])
    if first["type"] == "extra_forbidden":
        return SweepError(str(unknown_name("key", key, Sweep.model_fields)), location)
    if first["type"] == "missing":
        return SweepError(f"the key {key!r} is missing", ())
    if first["type"] == "value_error":
        cause = first["ctx"]["error"]
        return SweepError(str(cause), getattr(cause, "location", location))
    top = str(location[0])
    if top in ("datasets", "encoders", "indexes", "combine", "filters") and len(location) > 1:
        place = location[:2]
        return SweepError(f"{top}[{location[1]}] must be {_HINTS[top]}", place)
    hint = f" ({_HINTS[top]})" if top in _HINTS else ""
    path = ".".join(str(part) for part in location)
    return SweepError(f"{path} is {first['input']!r}: {first['msg']}{hint}", location)


@contextlib.contextmanager
def located(*location: int | str) -> Iterator[None]:
    """Add the place in the sweep to an error that a value there causes."""
    try:
        yield
    except SweepError:
        raise
    except InputError as error:
        raise SweepError(str(error), location) from error


def sweep_file(path: str | Path) -> Path:
    """Return the file that a path, or a name from ``experiments/``, stands for."""
    return catalogue_file("experiments", str(path)) or Path(path)


def load_sweep(path: str | Path, settings: tuple[str, ...] = ()) -> Sweep:
    """Read a sweep file.

    Parameters
    ----------
    path : str or Path
        A YAML file, or the name of one in the folder ``experiments/``.
    settings : tuple of str
        Overrides, each ``key=value`` or ``key.key=value``; values are read as YAML.

    Raises
    ------
    InputError
        Naming file, line, key and rule.
    """
    found = sweep_file(path)
    if not found.is_file():
        if not str(path).endswith((".yaml", ".yml")):
            raise unknown_name("sweep", str(path), catalogue_names("experiments"))
        raise InputError(f"{found}: there is no such file")
    try:
        text = found.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{found}: cannot be read: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else "?"
        raise InputError(f"{found}:{line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{found}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise InputError(f"{found}: a sweep file must hold a mapping of keys to values")
    _refuse_repeated_keys(found, node)
    for setting in settings:
        data = _override(data, setting)
    odd = next((key for key in data if not isinstance(key, str)), None)
    if odd is not None:
        raise InputError(f"{found}: the key {odd!r} must be text")
    try:
        return Sweep(**data)
    except SweepError as problem:
        line = _line_of(node, problem.location)
        raise InputError(f"{found}:{line}: {problem}") from None


def _refuse_repeated_keys(path: Path, node: yaml.Node | None) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                line = key.start_mark.line + 1
                raise InputError(f"{path}:{line}: the key {name!r} occurs twice: keep one")
            seen.add(name)
            _refuse_repeated_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_repeated_keys(path, value)


def line_of(path: Path, location: tuple[int | str, ...]) -> int:
    """Return the line of the deepest key on the way to `location` in a sweep file, from 1."""
    return _line_of(yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader), location)


def _line_of(node: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    line = 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next((p for p in node.value if p[0].value == str(part)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _override(data: Mapping[str, Any], setting: str) -> dict[str, Any]:
    key, equals, text = setting.partition("=")
    if not equals or not re.fullmatch(r"[\w@]+(\.[\w@]+)*", key):
        raise InputError(f"--set {setting!r}: expected key=value or key.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"--set {setting!r}: the value is not valid YAML") from None
    head, _, rest = key.partition(".")
    if not rest:
        return {**data, head: value}
    inner = data.get(head, {})
    if not isinstance(inner, dict):
        raise InputError(f"--set {setting!r}: {head!r} holds no keys of its own")
    return {**data, head: _override(inner, f"{rest}={text}")}
