"""Dataset sources: one file each. Cards that name ready datasets lie in the folder datasets/."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retrieval_eval.catalogue import catalogue_file, catalogue_names
from retrieval_eval.datasets.base import Dataset, DatasetSource
from retrieval_eval.datasets.cards import Card, read_card
from retrieval_eval.errors import unknown_name
from retrieval_eval.plugins import PluginTable
from retrieval_eval.remote import open_store
from retrieval_eval.store import Store

__all__ = [
    "DATASETS",
    "Card",
    "Dataset",
    "DatasetSource",
    "NamedDataset",
    "dataset_source",
    "load_dataset",
    "read_card",
]

_HERE = "retrieval_eval.datasets"

DATASETS: PluginTable[DatasetSource] = PluginTable(
    kind="dataset",
    group="retrieval_eval.datasets",
    base=DatasetSource,  # type: ignore[type-abstract]  # a table of its subclasses
    targets={
        "ann-benchmarks": f"{_HERE}.ann_benchmarks:AnnBenchmarks",
        "beir": f"{_HERE}.beir:BeirFolder",
        "big-ann": f"{_HERE}.big_ann:BigAnn",
        "ir-datasets": f"{_HERE}.ir_datasets:IrDatasets",
        "mteb": f"{_HERE}.mteb:MtebFolder",
        "pairs": f"{_HERE}.pairs:PairsFile",
        "smart": f"{_HERE}.smart:SmartFiles",
        "stdlib": f"{_HERE}.stdlib:StdlibCodeSearch",
        "trec": f"{_HERE}.trec:TrecFiles",
    },
)


@dataclass(frozen=True, eq=False)
class NamedDataset:
    """What a dataset's name stands for, not loaded.

    Parameters
    ----------
    label : str
        What tables call it.
    source_class : type
        Which source loads it.
    parameters : mapping
        Its parameters; those of a card may begin with ``$files``.
    card : Card or None
        The card, if the name is one's.
    """

    label: str
    source_class: type[DatasetSource]
    parameters: Mapping[str, Any]
    card: Card | None = None

    def require(self) -> None:
        """Check the parameters, and that the libraries are installed.

        Raises
        ------
        InputError
            For an unknown parameter, or a value out of range.
        MissingExtraError
            If a library is not installed.
        """
        self.source_class(**self.parameters).require()

    def load(self, store: Store, advance: Callable[[int], None] | None = None) -> Dataset:
        """Fetch the files that a card names, as far as they are not there, and load the dataset.

        Parameters
        ----------
        store : Store
            Where fetched and prepared data is kept.
        advance : callable, optional
            Called with the number of bytes fetched since the last call.
        """
        if self.card is None:
            return self.source_class(**self.parameters).load(self.label, store)
        fetched = self.card.fetch(self.parameters, store, advance)
        given = self.card.resolve(self.parameters, store)
        dataset = self.source_class(**given).load(self.label, store)
        if not fetched:
            return dataset
        files = {one.path.name: f"sha256:{one.sha256}" for one in fetched}
        return replace(dataset, facts={**dataset.facts, "files": files})


def dataset_source(name: str, where: str = "", **parameters: Any) -> NamedDataset:
    """Find what a dataset's name stands for, without loading it.

    Parameters
    ----------
    name : str
        The path of a folder in BEIR's layout, a card of the folder ``datasets/``, the name of a
        source, or "module:Class".
    where : str, optional
        File and key where the name stands, for messages.
    **parameters
        Parameters of the source; they override those of a card.

    Raises
    ------
    InputError
        If nothing answers to the name, or a card is not as it should be.
    """
    card_path = catalogue_file("datasets", name)
    if any(Path(name).glob("corpus.jsonl*")):
        card_path = None  # a folder of that name at hand is meant, not a card
    if card_path is not None:
        card = read_card(card_path)
        source = DATASETS.load(card.source, str(card_path))
        return NamedDataset(card_path.stem, source, {**card.parameters, **parameters}, card)
    if Path(name).is_dir():
        label = Path(name).resolve().name
        return NamedDataset(label, DATASETS.load("beir"), {"path": name, **parameters})
    if name in DATASETS.names() or ":" in name:
        given = (parameters.get(key) for key in ("id", "path", "documents"))
        text = next((value for value in given if isinstance(value, str)), None)
        label = text or name
        if text is not None and "id" not in parameters:
            label = Path(text).resolve().name
        return NamedDataset(label, DATASETS.load(name, where), parameters)
    raise unknown_name(
        "dataset (neither a card, a folder nor a source)",
        name,
        {*catalogue_names("datasets"), *DATASETS.names()},
        where,
    )


def load_dataset(name: str, *, store: Store | None = None, **parameters: Any) -> Dataset:
    """Load a dataset by name or path.

    Parameters
    ----------
    name : str
        See :func:`dataset_source`.
    store : Store, optional
        Where made or fetched data is kept; the user's own store by default.
    **parameters
        Parameters of the source.

    Examples
    --------
    >>> import tempfile
    >>> dataset = load_dataset("stdlib", store=Store(Path(tempfile.mkdtemp())))
    >>> len(dataset.documents) > len(dataset.queries) > 1000
    True
    """
    named = dataset_source(name, **parameters)
    named.require()
    return named.load(store or open_store())
