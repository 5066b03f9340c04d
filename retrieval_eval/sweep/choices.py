"""What the entries of a sweep stand for: datasets, encoders, indexes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from retrieval_eval.combiners import Combiner
from retrieval_eval.datasets import NamedDataset, dataset_source
from retrieval_eval.encoders import ENCODERS, Encoder
from retrieval_eval.errors import InputError, MissingExtraError, unknown_name
from retrieval_eval.indexes import INDEXES, Index, index_specification
from retrieval_eval.parameters import Entry, expand_grid, parse_entry
from retrieval_eval.sweep.config import Sweep
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
    name, parameters = parse_entry(entry)
    label = parameters.pop("label", None)
    grid = [key for key, value in parameters.items() if isinstance(value, list)]
    choices = []
    for point in expand_grid(parameters):
        found = dataset_source(name, **point)
        found.require()
        shown = shown_parameters(str(label or found.label), {key: point[key] for key in grid})
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
    name, parameters = parse_entry(entry)
    label = parameters.pop("label", None)
    cls = ENCODERS.load(name)
    points = list(expand_grid(parameters))
    grid = [key for key, value in parameters.items() if isinstance(value, list)]
    choices = []
    for point in points:
        encoder = cls(**point)
        shown = shown_parameters(str(label), {key: point[key] for key in grid}) if label else ""
        shown = shown or shown_parameters(name, point)
        choices.append(EncoderChoice(shown, encoder, why_missing(encoder), place))
    return choices


def index_choices(entry: Entry, place: int, sweep: Sweep) -> list[IndexChoice]:
    """Return the indexes of an entry, each with its search settings."""
    name, parameters = parse_entry(entry)
    label = parameters.pop("label", None)
    search = parameters.pop("search", None) or {}
    if not isinstance(search, dict):
        raise InputError(f"indexes: {name!r}: search must hold search parameters")
    backend, fixed, fixed_search = index_specification(name)
    cls = INDEXES.load(backend)
    choices = []
    for point in expand_grid({**fixed, **parameters}):
        metric = "ip" if cls.takes == "sparse" else sweep.metric
        index = cls(metric=metric, seed=sweep.seed, threads=sweep.timing.threads, **point)
        settings = []
        for setting in expand_grid({**fixed_search, **search}):
            full = index.settings(setting)
            asked = {key: setting[key] for key in setting if key in search}
            settings.append((shown_parameters("", asked), asdict(full)))
        shown = shown_parameters(str(label or name), {key: point[key] for key in parameters})
        missing = why_missing(index)
        found = IndexChoice(str(label or name), shown, index, tuple(settings), missing, place)
        choices.append(found)
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
