"""What the entries of a sweep stand for: datasets, encoders, indexes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from retrieval_eval.combiners import Combiner
from retrieval_eval.datasets import NamedDataset, dataset_source
from retrieval_eval.encoders import ENCODERS, Encoder
from retrieval_eval.errors import InputError, MissingExtraError, unknown_name
from retrieval_eval.indexes import INDEXES, Index, index_specification
from retrieval_eval.parameters import Entry
from retrieval_eval.sweep.config import Sweep
from retrieval_eval.sweep.expand import expand_entry, expand_searches
from retrieval_eval.sweep.rows import EncoderChoice, IndexChoice, shown_parameters

__all__ = [
    "dataset_choices",
    "encoder_choices",
    "find_reference",
    "index_choices",
    "refuse_repeats",
    "sparse_index",
    "why_missing",
]


def refuse_repeats(kind: str, names: Sequence[str]) -> None:
    """Refuse two entries of one name."""
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"{kind} {name.strip()!r} stands in the sweep twice: remove one, "
                "or give them different labels"
            )


def dataset_choices(entry: Entry) -> list[NamedDataset]:
    """Return the datasets of an entry; a list in a parameter gives several."""
    expanded = expand_entry(entry)
    choices = []
    for point in expanded.points:
        found = dataset_source(expanded.name, **point)
        found.require()
        shown = shown_parameters(expanded.label or found.label, expanded.varying(point))
        choices.append(replace(found, label=shown))
    return choices


def why_missing(thing: Encoder | Index | Combiner) -> str | None:
    """Return why something cannot be used here, or None."""
    try:
        thing.require()
    except MissingExtraError as error:
        return str(error)
    return None


def encoder_choices(entry: Entry, place: int) -> list[EncoderChoice]:
    """Return the encoders of an entry."""
    expanded = expand_entry(entry)
    cls = ENCODERS.load(expanded.name)
    choices = []
    for point in expanded.points:
        encoder = cls(**point)
        named = expanded.varying(point) if expanded.label else point
        shown = shown_parameters(expanded.label or expanded.name, named)
        choices.append(EncoderChoice(shown, encoder, why_missing(encoder), place))
    return choices


def index_choices(entry: Entry, place: int, sweep: Sweep) -> list[IndexChoice]:
    """Return the indexes of an entry, each with its search settings."""
    expanded = expand_entry(entry)
    name = expanded.label or expanded.name
    backend, fixed, fixed_search = index_specification(expanded.name)
    cls = INDEXES.load(backend)
    choices = []
    threads = 1 if sweep.timing is None else sweep.timing.threads
    for point, searches in expand_searches(expanded):
        metric = "ip" if cls.takes == "sparse" else sweep.metric
        given = {**fixed, **point}
        index = cls(metric=metric, seed=sweep.seed, threads=threads, **given)
        settings = []
        for asked in searches:
            full = index.settings({**fixed_search, **asked})
            settings.append((shown_parameters("", asked), asdict(full)))
        shown = shown_parameters(name, point)
        choices.append(IndexChoice(name, shown, index, tuple(settings), why_missing(index), place))
    return choices


def sparse_index(sweep: Sweep) -> list[IndexChoice]:
    """Return the index that sparse vectors are searched with where the sweep names none."""
    return index_choices("sparse", -1, sweep)


def find_reference(asked: str | None, indexes: Sequence[IndexChoice]) -> str | None:
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
