"""The sweep file: strict keys, and errors that name the line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from annotated_types import Ge, Gt, Lt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, ValidationError

from retrieval_eval.catalogue import catalogue_file, catalogue_names
from retrieval_eval.comparison import CompareOptions
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.evaluation import parse_measure
from retrieval_eval.parameters import Entry, ParameterError, make_parameters
from retrieval_eval.sweep.loading import Document, read_document
from retrieval_eval.sweep.nodes import escaped
from retrieval_eval.sweep.ranges import Space, find_ranges
from retrieval_eval.sweep.tuning import Goal, Search, TuneSection
from retrieval_eval.timing import TimingOptions

if TYPE_CHECKING:
    from retrieval_eval.store import Store
    from retrieval_eval.sweep.preview import Preview
    from retrieval_eval.sweep.results import Results

__all__ = [
    "CompareSection",
    "Sweep",
    "SweepError",
    "load_sweep",
    "located",
    "open_sweep",
    "sweep_file",
]

S = TypeVar("S", bound="Sweep")

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


@dataclass(frozen=True)
class LimitOptions:
    """What a build or a search may take before it is stopped, and costs its rows alone.

    Parameters
    ----------
    processes : bool
        Whether builds and searches are done in a child process, which may die of them. Without,
        there are no limits.
    seconds : float or None
        Time for one build, or for one search setting with its timing. None sets no limit.
    memory_gb : float or None
        Anonymous memory of the child in gigabytes (1e9 bytes). None: nine tenths of the machine's.
    """

    processes: bool = True
    seconds: Annotated[float, Gt(0)] | None = 14400.0
    memory_gb: Annotated[float, Gt(0)] | None = None


class SweepError(InputError):
    """A defect of a sweep, with the path of keys that leads to it."""

    def __init__(self, message: str, location: tuple[int | str, ...]) -> None:
        super().__init__(message)
        self.location = location


def _options(cls: type[Any], key: str, *, may_be_none: bool = False) -> BeforeValidator:
    """Read a mapping below a key as a parameter dataclass, strictly; or ``none``."""

    def read(value: Any) -> Any:
        if may_be_none and value in (None, "none"):
            return None
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"{key} must hold keys of its own")
        with located(key):
            return make_parameters(cls, value, key)

    return BeforeValidator(read)


_Compare = Annotated[InstanceOf[CompareSection], _options(CompareSection, "compare")]
_Timing = Annotated[
    InstanceOf[TimingOptions] | None,
    _options(TimingOptions, "timing", may_be_none=True),
]
_Limits = Annotated[InstanceOf[LimitOptions], _options(LimitOptions, "limits")]
_Tune = Annotated[InstanceOf[TuneSection], _options(TuneSection, "tune")]


class Sweep(BaseModel):
    """A sweep: datasets x encoders x indexes x search settings.

    Attributes
    ----------
    name : str
        Names the folder of results.
    datasets, encoders, indexes : list
        Names, or mappings of one name to its parameters. A list in a parameter is a grid; below
        ``zip`` stand parameters that vary together, below ``when`` those that depend on others
        (see :func:`retrieval_eval.sweep.expand.expand_grid`); below ``search`` of an index stand
        search settings, which never rebuild. The key ``label`` names an entry in tables.
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
    timing : TimingOptions or None
        How cost is measured. None (``none`` in a file) measures no time and no memory, so that jobs
        may run side by side.
    limits : LimitOptions
        What one build or search may take.
    tune : TuneSection or None
        How ranges in parameters of indexes, such as ``{int: [8, 64]}``, are searched.
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
    limits: _Limits = LimitOptions()
    tune: _Tune | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    build_seeds: Annotated[int, Field(ge=1)] = 1

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _explain(error) from None
        if self.neighbour_recall > self.k:
            given = "neighbour_recall" in self.model_fields_set
            raise SweepError(
                f"neighbour_recall is {self.neighbour_recall}, but only k={self.k} hits are asked "
                "for: raise k or lower it",
                ("neighbour_recall" if given else "k",),
            )
        self._check_ranges()

    def _check_ranges(self) -> None:
        for kind in ("datasets", "encoders", "combine"):
            for path in find_ranges(getattr(self, kind)):
                raise SweepError(
                    f"{path[-1]} is a range, and only parameters of indexes are searched: give a "
                    "value or a list of values",
                    (kind, *path),
                )
        spaces = self.spaces()
        if spaces and self.tune is None:
            place, space = next(iter(spaces.items()))
            name = next(iter(space.ranges))
            raise SweepError(
                f"indexes[{place}]: {name} is a range, but the sweep has no section 'tune', which "
                "says how ranges are searched: add it, or give a list of values",
                ("indexes", place, *name.split(".")),
            )
        if self.tune is None:
            return
        if not spaces:
            message = (
                "tune: no parameter of an index is a range, such as {int: [8, 64]}: give one, or "
                "remove the section"
            )
            raise SweepError(message, ("tune",))
        with located("tune", "goal"):
            self.goal()
        with located("tune"):
            self.search(next(iter(spaces.values())))

    def spaces(self) -> dict[int, Space]:
        """Return what indexes leave open to be searched, by their places.

        Raises
        ------
        InputError
            If a range is not as it should be, or stands beside a list, ``zip`` or ``when``.
        """
        found = {}
        for place, entry in enumerate(self.indexes):
            if find_ranges(entry):
                with located("indexes", place):
                    found[place] = Space.of(entry)
        return found

    def goal(self) -> Goal:
        """Return what a search is for, with the names of columns as results have them.

        Raises
        ------
        InputError
            If the sweep has none, or it names a column that there will not be.
        """
        if self.tune is None:
            raise InputError("the sweep has no section 'tune'")
        measures = list(dict.fromkeys(parse_measure(name) for name in self.measures))
        recall = f"neighbour_recall@{self.neighbour_recall}"
        return Goal.parse(self.tune.goal, [*measures, recall, *_COSTS])

    def search(self, space: Space) -> Search:
        """Return the search of one space that the section ``tune`` asks for."""
        goal = self.goal()
        if self.tune is None:
            raise InputError("the sweep has no section 'tune'")
        tune = self.tune
        return Search(space, goal, tune.sampler, tune.trials, tune.seconds, self.seed)

    @classmethod
    def from_yaml(cls, path: str | Path, settings: Sequence[str] = ()) -> Self:
        """Read a sweep file; see :func:`load_sweep`."""
        return open_sweep(path, settings, cls)[0]

    def plan(self, store: Store | None = None, *, skip_unavailable: bool = False) -> Preview:
        """Find out what there is to do, and what it would take; do nothing of it.

        Parameters
        ----------
        store : Store, optional
            The user's own store by default.
        skip_unavailable : bool
            Skip rows whose library is not installed, instead of refusing the sweep.

        Raises
        ------
        InputError
            For an unknown name, an impossible combination, or bad data.
        MissingExtraError
            If a library is not installed.
        """
        from retrieval_eval.sweep.run import preview_sweep

        return preview_sweep(self, store, skip_unavailable=skip_unavailable)

    def run(self, **options: Any) -> Results:
        """Run the sweep, or find it finished: see :func:`retrieval_eval.run_sweep`."""
        from retrieval_eval.sweep.run import run_sweep

        return run_sweep(self, **options)

    def to_yaml(self) -> str:
        """Return a sweep file that says the same, with every key in it.

        Examples
        --------
        >>> sweep = Sweep(name="s", datasets=["stdlib"], encoders=["lsa"], indexes=["flat"])
        >>> print(sweep.to_yaml()[:58])
        name: s
        datasets:
        - stdlib
        encoders:
        - lsa
        indexes:
        - flat
        """
        import yaml

        plain = _plain(self.model_dump(mode="json"))
        return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def _plain(value: Any) -> Any:
    """Escape what would be taken for environment variables."""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


_COSTS = (
    "latency_p50_s",
    "latency_p95_s",
    "latency_p99_s",
    "qps",
    "build_s",
    "train_s",
    "size_bytes",
    "peak_rss_bytes",
)
"""What results know of an index beside its quality."""

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
    except ParameterError as error:
        raise SweepError(str(error), (*location, *error.path)) from error
    except InputError as error:
        raise SweepError(str(error), location) from error


def sweep_file(path: str | Path) -> Path:
    """Return the file that a path, or a name from ``experiments/``, stands for."""
    return catalogue_file("experiments", str(path)) or Path(path)


def load_sweep(path: str | Path, settings: Sequence[str] = ()) -> Sweep:
    """Read a sweep file.

    Parameters
    ----------
    path : str or Path
        A YAML file, or the name of one in the folder ``experiments/``. It may ``include`` others
        and hold ``${NAME}``: see :func:`retrieval_eval.sweep.loading.read_document`.
    settings : sequence of str
        Overrides, each ``key=value``, ``key.key=value`` or ``key.0.key=value``; values are read
        as YAML.

    Raises
    ------
    InputError
        Naming file, line, key and rule.
    """
    return Sweep.from_yaml(path, settings)


def open_sweep(path: str | Path, settings: Sequence[str], cls: type[S]) -> tuple[S, Document]:
    """Read a sweep file as :func:`load_sweep` does; return where its values stand, too.

    Parameters
    ----------
    path, settings : object
        As there.
    cls : type
        :class:`Sweep`, or a class derived from it.

    Returns
    -------
    sweep : Sweep
        The sweep.
    document : Document
        Whose ``where(error.location)`` tells where the defect is that a :class:`SweepError` of a
        later step is about.
    """
    found = sweep_file(path)
    if not found.is_file():
        if not str(path).endswith((".yaml", ".yml")):
            raise unknown_name("sweep", str(path), catalogue_names("experiments"))
        raise InputError(f"{found}: there is no such file")
    document = read_document(found, settings)
    try:
        return cls(**document.values()), document
    except SweepError as problem:
        raise InputError(f"{document.where(problem.location)}: {problem}") from None
