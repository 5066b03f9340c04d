"""From names to objects: what a sweep will do, with everything checked that can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval_eval.datasets import Dataset
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.evaluation import measure_depth, parse_measure, require_means
from retrieval_eval.filters import Filter
from retrieval_eval.ids import Ids
from retrieval_eval.pipeline import Attributes, check_texts
from retrieval_eval.plugins import own_code
from retrieval_eval.store import Store, digest, fold_digests
from retrieval_eval.sweep.choices import (
    dataset_choices,
    encoder_choices,
    find_reference,
    index_choices,
    refuse_repeats,
    sparse_index,
)
from retrieval_eval.sweep.combine import combined_rows, combiner_choices
from retrieval_eval.sweep.config import Sweep, SweepError, located
from retrieval_eval.sweep.rows import (
    AnyRow,
    CombinerChoice,
    EncoderChoice,
    IndexChoice,
    Row,
    View,
)

__all__ = ["Plan", "make_plan"]


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything a sweep will do.

    Parameters
    ----------
    sweep : Sweep
        The configuration, with canonical measures.
    rows : tuple of Row or CombinedRow
        Grouped by dataset, encoder and index; the combinations of a dataset follow its other rows.
    reference : str or None
        Name of the reference index.
    """

    sweep: Sweep
    rows: tuple[AnyRow, ...]
    reference: str | None

    @property
    def searched(self) -> list[Row]:
        """The rows that are searched, not combined."""
        return [row for row in self.rows if isinstance(row, Row)]

    def notes(self) -> list[str]:
        """Return what a reader must know of some rows, each once."""
        found: dict[str, dict[str, None]] = {}
        for row in self.searched:
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
    sources, encoders, indexes, combiners = [], [], [], []
    for place, entry in enumerate(sweep.datasets):
        with located("datasets", place):
            sources += dataset_choices(entry)
    for place, entry in enumerate(sweep.encoders):
        with located("encoders", place):
            encoders += encoder_choices(entry, place)
    for place, entry in enumerate(sweep.indexes):
        with located("indexes", place):
            indexes += index_choices(entry, place, sweep)
    for place, entry in enumerate(sweep.combine):
        with located("combine", place):
            combiners += combiner_choices(entry, place)
    refuse_repeats("encoder", [choice.label for choice in encoders])
    refuse_repeats("index", [f"{i.shown} {s}" for i in indexes for s, _ in i.settings])
    pairs = _pairs(sweep, encoders, indexes)
    with located("compare", "reference"):
        dense = [index for index in indexes if index.index.takes == "dense"]
        reference = find_reference(sweep.compare.reference, dense or indexes)
        if not dense:
            reference = reference or _own(None, indexes)
    if not skip_unavailable:
        used: list[EncoderChoice | IndexChoice | CombinerChoice]
        used = [*encoders, *indexes, *combiners]
        for choice in used:
            choice.require()
    datasets = [source.load(store) for source in sources]
    with located("datasets"):
        refuse_repeats("dataset", [dataset.name for dataset in datasets])
    rows: list[AnyRow] = []
    for dataset in datasets:
        views = _views(sweep, dataset)
        _check_sizes(sweep, dataset, pairs)
        mine = [
            _row(sweep, dataset, encoder, index, shown, setting, view, _own(reference, its_indexes))
            for encoder, its_indexes in pairs
            for index in its_indexes
            for shown, setting in index.settings
            for view in views
        ]
        rows += mine
        rows += combined_rows(sweep, dataset, views, mine, combiners)
    sweep = sweep.model_copy(update={"measures": measures})
    return Plan(sweep, tuple(rows), reference)


def _own(reference: str | None, indexes: Sequence[IndexChoice]) -> str | None:
    """Return an encoder's reference; sparse vectors have an exact index of their own, the first."""
    if all(index.index.takes == "sparse" for index in indexes):
        return f"{indexes[0].shown} {indexes[0].settings[0][0]}".strip()
    return reference


Pairs = Sequence[tuple[EncoderChoice, Sequence[IndexChoice]]]


def _pairs(
    sweep: Sweep, encoders: Sequence[EncoderChoice], indexes: Sequence[IndexChoice]
) -> Pairs:
    """Give each encoder the indexes that take its kind of vectors."""
    kinds: dict[bool, Sequence[IndexChoice]] = {
        kind: [index for index in indexes if (index.index.takes == "sparse") is kind]
        for kind in (False, True)
    }
    wanted = {encoder.encoder.sparse for encoder in encoders}
    if True in wanted and not kinds[True]:
        kinds[True] = sparse_index(sweep)
    for kind, name, other in ((False, "dense", "flat"), (True, "sparse", "sparse")):
        if kind in wanted and not kinds[kind]:
            label = next(one.label for one in encoders if one.encoder.sparse is kind)
            raise SweepError(
                f"encoder {label!r} makes {name} vectors, and no index of the sweep takes those: "
                f"add {other!r}",
                ("indexes",),
            )
        if kinds[kind] and kind not in wanted:
            index = kinds[kind][0]
            raise SweepError(
                f"index {index.shown!r} takes {name} vectors, and no encoder of the sweep makes "
                "any: remove it, or add such an encoder",
                ("indexes", index.place),
            )
    return [(encoder, kinds[encoder.encoder.sparse]) for encoder in encoders]


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


def _check_sizes(sweep: Sweep, dataset: Dataset, pairs: Pairs) -> None:
    """Refuse what cannot work for a dataset of this size and kind."""
    n = len(dataset.document_ids)
    if sweep.k > n:
        message = (
            f"k is {sweep.k}, but the corpus of dataset {dataset.name!r} has {n} documents: lower k"
        )
        raise SweepError(message, ("k",))
    judged_by = None if dataset.vectors is None else dataset.vectors.metric
    if judged_by is not None and judged_by != sweep.metric:
        message = (
            f"metric is {sweep.metric!r}, but the judgments of dataset {dataset.name!r} are true "
            f"neighbours by {judged_by!r}: set metric: {judged_by}"
        )
        raise SweepError(message, ("metric",))
    for encoder, indexes in pairs:
        if encoder.missing:
            continue
        with located("encoders", encoder.place):
            check_texts(dataset, encoder.encoder)
            used, own = encoder.encoder, dataset.vectors
            if own is not None:
                used = used.with_vectors(own.documents, own.queries)
            used.check(n, len(dataset.query_ids))
            dimension = used.dimension()
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
    reference: str | None,
) -> Row:
    fields = {
        "corpus": dataset.corpus_fingerprint,
        "queries": dataset.queries_fingerprint,
        "qrels": dataset.qrels.fingerprint,
        "encoder": encoder.identity,
        "index": index.index.identity(),
        "setting": setting,
        "embeddings": "float32" if encoder.encoder.sparse else sweep.embeddings,
        "k": sweep.k,
        "code": [own_code(type(encoder.encoder)), own_code(*index.index.classes())],
        "labels": [dataset.name, encoder.label, index.name],
        "filter": None if view.where is None else view.where.as_mapping(),
        "passes": None if view.mask is None else fold_digests([np.packbits(view.mask).tobytes()]),
    }
    columns = index.index.attribute_columns()
    if columns:
        fields["attributes"] = Attributes.of(dataset.attribute_table(columns)).fingerprint
    is_reference = f"{index.shown} {shown}".strip() == reference
    return Row(digest(fields), dataset, encoder, index, shown, setting, view, is_reference)


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
    refuse_repeats("filter", [view.shown or "none" for view in views])
    return views
