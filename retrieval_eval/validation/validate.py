"""All checks of a dataset in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval_eval.datasets import Dataset, dataset_source
from retrieval_eval.datasets.beir import BeirFolder
from retrieval_eval.errors import InputError
from retrieval_eval.remote import open_store
from retrieval_eval.store import Store
from retrieval_eval.validation.checks import (
    check_documents,
    check_judgments,
    check_queries,
    check_self_retrieval,
    lengths,
)
from retrieval_eval.validation.findings import Notes, Validation
from retrieval_eval.validation.leakage import Side, check_splits, check_training
from retrieval_eval.validation.near_duplicates import NearDuplicates, Shingles
from retrieval_eval.validation.scan import (
    Judged,
    Texts,
    find_folder,
    scan_dataset,
    scan_folder,
)

__all__ = ["folder_of", "validate"]


@dataclass(frozen=True, eq=False)
class _Scanned:
    name: str
    documents: Texts
    queries: Texts
    judged: list[Judged]
    has_texts: bool

    @property
    def side(self) -> Side:
        return Side(self.documents, self.queries, self.judged)


def validate(
    dataset: str | Path | Dataset,
    *,
    splits: Sequence[str] = (),
    training: str | Path | Dataset | None = None,
    near_duplicates: float | None = 0.9,
    limit: int | None = 20,
    seed: int = 0,
    store: Store | None = None,
) -> Validation:
    """Find everything that is wrong with a dataset, or makes its figures mean less.

    A folder in BEIR's layout is read line by line, whatever is wrong with it, and each finding
    names file and line. Another dataset is loaded, which refuses what is an error; the rest is
    checked.

    Parameters
    ----------
    dataset : str, Path or Dataset
        A folder in BEIR's layout, a name as for :func:`~retrieval_eval.datasets.load_dataset`, or a
        dataset that is loaded.
    splits : sequence of str
        Which judgments; by default, all of a folder, or those that a card or source names. Splits
        of a folder are compared with each other.
    training : str, Path or Dataset, optional
        Data that an encoder was trained on, say: queries, relevant documents and judged pairs that
        it shares with the dataset are found, by their words. Of a folder, the split ``train``
        counts, or all if there is none of that name.
    near_duplicates : float or None
        Jaccard similarity from which texts are near duplicates: of documents by runs of 3 words,
        of queries by words. None does not look for them.
    limit : int or None
        Examples kept of each finding; None keeps all. Counts are always of all.
    seed : int
        Of the hash functions by which near duplicates are proposed.
    store : Store, optional
        Where a dataset that is no folder is kept; the user's own store by default.

    Raises
    ------
    InputError
        If there is no such folder, file or split, or loading refuses a dataset that is no folder.

    Notes
    -----
    Documents stream. Memory holds about 50 bytes for each, its id, and 90 more to look for near
    duplicates, whose shingles are in a temporary file of 8 bytes for each word.
    """
    notes = Notes(limit)
    if near_duplicates is None:
        scanned, near = _scan(dataset, splits, notes, None, store), None
    else:
        with Shingles(near_duplicates, seed=seed) as shingles:
            scanned = _scan(dataset, splits, notes, shingles, store)
            near = shingles.find()
    documents, queries, judged = scanned.documents, scanned.queries, scanned.judged
    _check(scanned, notes, near)
    check_splits(documents, queries, judged, notes, threshold=near_duplicates, seed=seed)
    if training is not None:
        other = _scan(training, _training_splits(training, store), Notes(0), None, store)
        check_training(scanned.side, other.side, notes, threshold=near_duplicates, seed=seed)
    sizes: dict[str, Any] = {
        "documents": len(documents),
        "queries": len(queries),
        "judgments": {one.split: len(one.table) for one in judged},
        "judged_queries": {one.split: one.table["query"].n_unique() for one in judged},
    }
    if scanned.has_texts:
        sizes["document_characters"] = lengths(documents)
        sizes["query_characters"] = lengths(queries)
    options = {
        "near_duplicates": near_duplicates,
        "training": None if training is None else _name(training),
        "limit": limit,
        "seed": seed,
    }
    return Validation(scanned.name, notes.findings(), sizes, options)


def _check(scanned: _Scanned, notes: Notes, near: NearDuplicates | None) -> None:
    documents, queries, judged = scanned.documents, scanned.queries, scanned.judged
    texts = scanned.has_texts
    check_documents(documents, notes, near, texts=texts)
    check_queries(queries, judged, notes, texts=texts)
    for one in judged:
        check_judgments(one, documents, queries, notes)
    check_self_retrieval(queries, documents, judged, notes, texts=texts)


def _name(dataset: str | Path | Dataset) -> str:
    return dataset.name if isinstance(dataset, Dataset) else str(dataset)


def folder_of(dataset: str | Path, store: Store | None = None) -> tuple[Path, list[str]] | None:
    """Return the folder in BEIR's layout that a name stands for, and the split that it names.

    Parameters
    ----------
    dataset : str or Path
        A folder or a name.
    store : Store, optional
        Where a card's files are fetched to.

    Returns
    -------
    tuple of Path and list of str, or None
        None if the name stands for something else. No split is named by a bare folder.
    """
    if Path(dataset).is_dir():
        return Path(dataset), []
    named = dataset_source(str(dataset))
    if not issubclass(named.source_class, BeirFolder):
        return None
    named.require()
    given = dict(named.parameters)
    if named.card is not None:
        kept = store or open_store()
        named.card.fetch(given, kept)
        given = named.card.resolve(given, kept)
    return Path(given["path"]), [given["split"]] if "split" in given else []


def _scan(
    dataset: str | Path | Dataset,
    splits: Sequence[str],
    notes: Notes,
    shingles: Shingles | None,
    store: Store | None,
) -> _Scanned:
    found = None if isinstance(dataset, Dataset) else folder_of(dataset, store)
    if found is not None:
        path, own = found
        read = scan_folder(find_folder(path, list(splits) or own), notes, shingles)
        return _Scanned(_name(dataset), *read, has_texts=True)
    if len(splits) > 1:
        raise InputError(
            f"{_name(dataset)}: {len(splits)} splits at once can be checked of a folder in BEIR's "
            "layout alone: give one"
        )
    given = {"split": splits[0]} if splits else {}
    if isinstance(dataset, Dataset):
        if splits:
            raise InputError(f"{dataset.name}: is loaded already, with one split: name none")
        loaded = dataset
    else:
        named = dataset_source(str(dataset), **given)
        named.require()
        loaded = named.load(store or open_store())
    split = str(loaded.facts.get("split", "judged"))
    has_texts = loaded.vectors is None or any(len(text) for text in loaded.queries)
    return _Scanned(
        _name(dataset), *scan_dataset(loaded, split, notes, shingles), has_texts=has_texts
    )


def _training_splits(training: str | Path | Dataset, store: Store | None) -> list[str]:
    found = None if isinstance(training, Dataset) else folder_of(training, store)
    if found is None:
        return []
    path, own = found
    return own or (["train"] if "train" in find_folder(path).splits else [])
