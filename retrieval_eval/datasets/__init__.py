"""Dataset sources: one file each. Cards that name ready datasets lie in the folder datasets/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retrieval_eval.catalogue import catalogue_file, catalogue_names, read_specification
from retrieval_eval.datasets.base import Dataset, DatasetSource
from retrieval_eval.errors import unknown_name
from retrieval_eval.plugins import PluginTable
from retrieval_eval.store import Store

__all__ = ["DATASETS", "Dataset", "DatasetSource", "dataset_source", "load_dataset", "read_card"]

_HERE = "retrieval_eval.datasets"

DATASETS: PluginTable[DatasetSource] = PluginTable(
    kind="dataset",
    group="retrieval_eval.datasets",
    base=DatasetSource,  # type: ignore[type-abstract]  # a table of its subclasses
    targets={
        "beir": f"{_HERE}.beir:BeirFolder",
        "stdlib": f"{_HERE}.stdlib:StdlibCodeSearch",
    },
)


_CARD_TEXTS = (
    "title",
    "licence",
    "language",
    "relevance",
    "recommended_measures",
    "method",
    "homepage",
)


def read_card(path: Path) -> dict[str, Any]:
    """Read a dataset card: what it says of the data, its ``source`` and the ``parameters``."""
    return read_specification(path, "source", _CARD_TEXTS, ("parameters", "sizes", "checksums"))


def dataset_source(name: str, where: str = "", **parameters: Any) -> tuple[str, DatasetSource]:
    """Find what a dataset's name stands for, without loading it.

    Parameters
    ----------
    name : str
        A card of the folder ``datasets/``, the path of a folder in BEIR's layout, the name of a
        source, or "module:Class".
    where : str, optional
        File and key where the name stands, for messages.
    **parameters
        Parameters of the source; they override those of a card.

    Returns
    -------
    label : str
        What tables call the dataset.
    source : DatasetSource
        Ready to load.

    Raises
    ------
    InputError
        If nothing answers to the name, or a card is not as it should be.
    """
    card_path = catalogue_file("datasets", name)
    if card_path is not None:
        card = read_card(card_path)
        given = {**card["parameters"], **parameters}
        return card_path.stem, DATASETS.load(card["source"], str(card_path))(**given)
    if Path(name).is_dir():
        return Path(name).resolve().name, DATASETS.load("beir")(path=name, **parameters)
    if name in DATASETS.names() or ":" in name:
        label = Path(str(parameters["path"])).resolve().name if "path" in parameters else name
        return label, DATASETS.load(name, where)(**parameters)
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
    label, source = dataset_source(name, **parameters)
    source.require()
    return source.load(label, store or Store.default())
