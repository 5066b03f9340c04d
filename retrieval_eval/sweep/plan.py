"""From names to objects: what a sweep will do, with everything checked that can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.datasets import Dataset, DatasetSource, dataset_source
from retrieval_eval.encoders import ENCODERS, Encoder
from retrieval_eval.errors import InputError, MissingExtraError, unknown_name
from retrieval_eval.evaluation import measure_depth, parse_measure, require_means
from retrieval_eval.filters import Filter
from retrieval_eval.ids import Ids
from retrieval_eval.indexes import INDEXES, Index, index_specification
from retrieval_eval.parameters import Entry, expand_grid, parse_entry
from retrieval_eval.pipeline import Attributes
from retrieval_eval.plugins import own_code
from retrieval_eval.qrels import Qrels
from retrieval_eval.store import Store, digest, fold_digests
from retrieval_eval.sweep.config import Sweep, SweepError, located

__all__ = ["EncoderChoice", "IndexChoice", "Plan", "Row", "View", "make_plan"]


_LONGEST_NAME = 150  # of a run's file; systems end names at 255 bytes


@dataclass(frozen=True, eq=False)
class EncoderChoice:
    """One encoder of the sweep.

    Parameters
    ----------
    label : str
        What tables call it.
    encoder : Encoder
        Not fitted.
    missing : str or None
        Why it cannot be used here.
    place : int
        Which entry of the sweep it comes from.
    """

    label: str
    encoder: Encoder
    missing: str | None
    place: int

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The encoder's identity, asked for once: it may take reading gigabytes of weights."""
        return {"label": self.label} if self.missing else self.encoder.identity()


@dataclass(frozen=True, eq=False)
class IndexChoice:
    """One index to build, with the search settings to try on it.

    Parameters
    ----------
    name : str
        The entry's name or label.
    shown : str
        The name with the build parameters that the sweep names.
    index : Index
        Not built.
    settings : tuple of (str, dict)
        How tables show a setting, and the setting with all its fields.
    missing : str or None
        Why it cannot be used here.
    place : int
        Which entry of the sweep it comes from.
    """

    name: str
    shown: str
    index: Index
    settings: tuple[tuple[str, dict[str, Any]], ...]
    missing: str | None
    place: int


@dataclass(frozen=True, eq=False)
class View:
    """A dataset as a filter leaves it.

    Parameters
    ----------
    where : Filter or None
        The filter; None lets every document pass.
    mask : ndarray of bool, shape (n,), or None
        Which documents pass.
    qrels : Qrels
        The judgments of those.
    """

    where: Filter | None
    mask: NDArray[np.bool_] | None
    qrels: Qrels

    @property
    def shown(self) -> str:
        """The filter as tables show it."""
        return "" if self.where is None else str(self.where)

    @property
    def selectivity(self) -> float:
        """Share of the documents that pass, from 0 to 1."""
        return 1.0 if self.mask is None else float(self.mask.mean())


@dataclass(frozen=True, eq=False)
class Row:
    """One configuration: a row of the table.

    Parameters
    ----------
    row_id : str
        Stable: the same for the same data, encoder, index, setting, k and labels.
    dataset : Dataset
        The data.
    encoder : EncoderChoice
        The encoder.
    index : IndexChoice
        The index.
    setting_shown : str
        The search setting as tables show it.
    setting : dict
        The search setting.
    view : View
        What the filter leaves of the dataset.
    """

    row_id: str
    dataset: Dataset
    encoder: EncoderChoice
    index: IndexChoice
    setting_shown: str
    setting: dict[str, Any]
    view: View

    @property
    def shown(self) -> str:
        """Index and setting as tables show them."""
        return f"{self.index.shown} {self.setting_shown}".strip()

    @property
    def missing(self) -> str | None:
        """Why this row is skipped."""
        return self.encoder.missing or self.index.missing

    @property
    def run_name(self) -> str:
        """A name that no other row of the sweep has."""
        parts = (self.dataset.name, self.encoder.label, self.shown, self.view.shown)
        words = " ".join(filter(None, parts)).replace("=", "")
        kept = "".join(c if c.isalnum() or c in "._-" else "_" for c in words)
        return f"{kept[:_LONGEST_NAME]}.{self.row_id[:8]}"


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything a sweep will do.

    Parameters
    ----------
    sweep : Sweep
        The configuration, with canonical measures.
    rows : tuple of Row
        Grouped by dataset, encoder and index.
    reference : str or None
        Name of the reference index.
    """

    sweep: Sweep
    rows: tuple[Row, ...]
    reference: str | None

    def notes(self) -> list[str]:
        """Return what a reader must know of some rows, each once."""
        found: dict[str, dict[str, None]] = {}
        for row in self.rows:
            index = row.index.index
            n = len(row.dataset.document_ids)
            note = index.note(index.settings(row.setting), n, self.sweep.k)
            if note and not row.missing:
                found.setdefault(note, {})[row.shown] = None
        return [f"{', '.join(rows)}: {note}" for note, rows in found.items()]


def make_plan(sweep: Sweep, store: Store, *, skip_unavailable: bool) -> Plan:
    """Resolve names, load datasets and check everything that can be checked before any work.

    Parameters
    ----------
    sweep : Sweep
        The configuration.
    store : Store
        Where datasets are kept.
    skip_unavailable : bool
        Whether a missing library skips its rows; otherwise it is an error.

    Raises
    ------
    InputError
        For an unknown name, an impossible combination, or bad data.
    MissingExtraError
        If a library is not installed.
    """
    measures = _measures(sweep)
    sources, encoders, indexes = [], [], []
    for place, entry in enumerate(sweep.datasets):
        with located("datasets", place):
            sources.append(_dataset(entry))
    for place, entry in enumerate(sweep.encoders):
        with located("encoders", place):
            encoders += _encoders(entry, place)
    for place, entry in enumerate(sweep.indexes):
        with located("indexes", place):
            indexes += _indexes(entry, place, sweep)
    _refuse_repeats("encoder", [choice.label for choice in encoders])
    _refuse_repeats("index", [f"{i.shown} {s}" for i in indexes for s, _ in i.settings])
    with located("compare", "reference"):
        reference = _reference(sweep.compare.reference, indexes)
    if not skip_unavailable:
        for encoder in encoders:
            encoder.encoder.require()
        for index in indexes:
            index.index.require()
    datasets = [source.load(label, store) for label, source in sources]
    _refuse_repeats("dataset", [dataset.name for dataset in datasets])
    views = {id(dataset): _views(sweep, dataset) for dataset in datasets}
    rows = [
        _row(sweep, dataset, encoder, index, shown, setting, view)
        for dataset in datasets
        for encoder in encoders
        for index in indexes
        for shown, setting in index.settings
        for view in views[id(dataset)]
    ]
    for dataset in datasets:
        _check_sizes(sweep, dataset, encoders, indexes)
    sweep = sweep.model_copy(update={"measures": measures})
    return Plan(sweep, tuple(rows), reference)


def _measures(sweep: Sweep) -> list[str]:
    """Return the canonical measures; refuse what k or the margins contradict."""
    with located("measures"):
        measures = list(dict.fromkeys(parse_measure(name) for name in sweep.measures))
        require_means(measures)
        for name in measures:
            depth = measure_depth(name)
            if depth is not None and depth > sweep.k:
                raise InputError(
                    f"measure {name} looks at {depth} documents, but k is {sweep.k}: raise k"
                )
    with located("compare", "margin"):
        margins = {parse_measure(name) for name in sweep.compare.margin}
        for name in sorted(margins - set(measures)):
            raise unknown_name("measure (of compare.margin)", name, measures)
    return measures


def _check_sizes(
    sweep: Sweep,
    dataset: Dataset,
    encoders: Sequence[EncoderChoice],
    indexes: Sequence[IndexChoice],
) -> None:
    """Refuse what cannot work for a dataset of this size."""
    n = len(dataset.document_ids)
    if sweep.k > n:
        message = (
            f"k is {sweep.k}, but the corpus of dataset {dataset.name!r} has {n} documents: lower k"
        )
        raise SweepError(message, ("k",))
    for encoder in encoders:
        if encoder.missing:
            continue
        with located("encoders", encoder.place):
            encoder.encoder.check(n, len(dataset.query_ids))
            dimension = encoder.encoder.dimension()
        for index in indexes:
            with located("indexes", index.place):
                index.index.check(n, dimension)
                if columns := index.index.attribute_columns():
                    dataset.attribute_table(columns)
                if dimension is not None:
                    for _, setting in index.settings:
                        index.index.check_sweep(index.index.settings(setting), n, dimension)


def _row(
    sweep: Sweep,
    dataset: Dataset,
    encoder: EncoderChoice,
    index: IndexChoice,
    shown: str,
    setting: dict[str, Any],
    view: View,
) -> Row:
    fields = {
        "corpus": dataset.corpus_fingerprint,
        "queries": dataset.queries_fingerprint,
        "qrels": dataset.qrels.fingerprint,
        "encoder": encoder.identity,
        "index": index.index.identity(),
        "setting": setting,
        "k": sweep.k,
        "code": [own_code(type(encoder.encoder)), own_code(type(index.index))],
        "labels": [dataset.name, encoder.label, index.name],
        "filter": None if view.where is None else view.where.as_mapping(),
        "passes": None if view.mask is None else fold_digests([np.packbits(view.mask).tobytes()]),
    }
    columns = index.index.attribute_columns()
    if columns:
        fields["attributes"] = Attributes.of(dataset.attribute_table(columns)).fingerprint
    return Row(digest(fields), dataset, encoder, index, shown, setting, view)


def _views(sweep: Sweep, dataset: Dataset) -> list[View]:
    """Apply each filter to a dataset; refuse one that leaves nothing to evaluate."""
    views = []
    for place, wanted in enumerate(sweep.filters):
        if wanted is None or wanted == "none":
            views.append(View(None, None, dataset.qrels))
            continue
        with located("filters", place):
            where = Filter.parse(wanted)
            columns = [one.column for one in where.conditions]
            mask = where.mask(dataset.attribute_table(columns))
            kept = Ids.of(dataset.document_ids).take(np.flatnonzero(mask))
            try:
                views.append(View(where, mask, dataset.qrels.only_documents(kept)))
            except InputError:
                raise InputError(
                    f"filter '{where}' lets {len(kept)} documents of dataset {dataset.name!r} "
                    "pass, and none of them is judged: widen it"
                ) from None
    _refuse_repeats("filter", [view.shown or "none" for view in views])
    return views


def _refuse_repeats(kind: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"{kind} {name.strip()!r} stands in the sweep twice: remove one, "
                "or give them different labels"
            )


def _dataset(entry: Entry) -> tuple[str, DatasetSource]:
    name, parameters = parse_entry(entry)
    label = parameters.pop("label", None)
    found, source = dataset_source(name, **parameters)
    source.require()
    return str(label or found), source


def _shown(name: str, values: Mapping[str, Any]) -> str:
    pairs = (f"{key}={_value(value)}" for key, value in values.items())
    return " ".join([name, *pairs]).strip()


def _value(value: Any) -> str:
    """Print an index inside a parameter as ``ivf-pq(nlist=64 m=16)``, its settings alike."""
    if not isinstance(value, Mapping):
        return str(value)
    if len(value) == 1:
        ((name, inner),) = value.items()
        if inner is None or isinstance(inner, Mapping):
            return f"{name}({_shown('', inner)})" if inner else str(name)
    return f"({_shown('', value)})"


def _why_missing(thing: Encoder | Index) -> str | None:
    try:
        thing.require()
    except MissingExtraError as error:
        return str(error)
    return None


def _encoders(entry: Entry, place: int) -> list[EncoderChoice]:
    name, parameters = parse_entry(entry)
    label = parameters.pop("label", None)
    cls = ENCODERS.load(name)
    points = list(expand_grid(parameters))
    grid = [key for key, value in parameters.items() if isinstance(value, list)]
    choices = []
    for point in points:
        encoder = cls(**point)
        shown = _shown(str(label), {key: point[key] for key in grid}) if label else ""
        shown = shown or _shown(name, point)
        choices.append(EncoderChoice(shown, encoder, _why_missing(encoder), place))
    return choices


def _indexes(entry: Entry, place: int, sweep: Sweep) -> list[IndexChoice]:
    name, parameters = parse_entry(entry)
    label = parameters.pop("label", None)
    search = parameters.pop("search", None) or {}
    if not isinstance(search, dict):
        raise InputError(f"indexes: {name!r}: search must hold search parameters")
    backend, fixed, fixed_search = index_specification(name)
    cls = INDEXES.load(backend)
    choices = []
    for point in expand_grid({**fixed, **parameters}):
        index = cls(metric=sweep.metric, seed=sweep.seed, threads=sweep.timing.threads, **point)
        settings = []
        for setting in expand_grid({**fixed_search, **search}):
            full = index.settings(setting)
            asked = {key: setting[key] for key in setting if key in search}
            settings.append((_shown("", asked), asdict(full)))
        shown = _shown(str(label or name), {key: point[key] for key in parameters})
        missing = _why_missing(index)
        found = IndexChoice(str(label or name), shown, index, tuple(settings), missing, place)
        choices.append(found)
    return choices


def _reference(asked: str | None, indexes: Sequence[IndexChoice]) -> str | None:
    """Check that the reference names exactly one configuration, available here."""
    names = [
        (choice.name, f"{choice.shown} {shown}".strip())
        for choice in indexes
        for shown, _ in choice.settings
    ]
    wanted = asked or "flat"
    found = [full for name, full in names if wanted in (name, full)]
    if len(found) == 1:
        return found[0]
    if asked is None:
        return None
    if not found:
        raise unknown_name("index (of compare.reference)", asked, [full for _, full in names])
    raise InputError(
        f"compare.reference: {asked!r} names {len(found)} configurations: name one of "
        f"{', '.join(repr(full) for full in found)}"
    )
