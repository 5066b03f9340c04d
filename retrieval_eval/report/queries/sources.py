"""The data sets of a finished sweep, loaded again: what queries and documents say, and judgments.

Results hold ids and scores alone. Texts are read from where they were when the sweep was run, and
only if checksums say that they are still the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.datasets import Dataset, NamedDataset
from retrieval_eval.errors import InputError
from retrieval_eval.filters import Filter
from retrieval_eval.ids import Ids
from retrieval_eval.store import Store

if TYPE_CHECKING:
    import polars as pl

    from retrieval_eval.selection.tables import Tables

__all__ = ["Source", "Text", "first_texts", "load_sources"]

Text = tuple[str, bool]
"""The beginning of a text, and whether it was cut."""

_AT_ONCE = 256
_TEXTS = {"corpus": "documents", "queries_checksum": "queries"}


@dataclass(frozen=True, eq=False)
class Source:
    """A data set, as far as it is still what a sweep was run on.

    Parameters
    ----------
    dataset : Dataset
        With its judgments, which are those of the sweep.
    filters : mapping of str to Filter
        Those of the sweep, by the text that tables show.
    changed : str
        Why texts and filters must not be shown, in a sentence; empty if they may be.

    Examples
    --------
    >>> from retrieval_eval.qrels import Qrels
    >>> qrels = Qrels.from_mapping({"q": {"b": 1}})
    >>> source = Source(Dataset("d", ["a", "b"], ["one", "two"], ("q",), ["what?"], qrels))
    >>> source.document_texts(["b", "c"]), source.query_texts(["q"])
    (['two', None], ['what?'])
    """

    dataset: Dataset
    filters: Mapping[str, Filter] = field(default_factory=dict)
    changed: str = ""

    def query_texts(self, ids: Sequence[str]) -> list[str | None]:
        """Return the texts of queries; None for one without."""
        return self._texts(self.dataset.query_ids, self.dataset.queries, ids)

    def document_texts(self, ids: Sequence[str]) -> list[str | None]:
        """Return the texts of documents; None for one without. Only these are read."""
        return self._texts(self.dataset.document_ids, self.dataset.documents, ids)

    def _texts(
        self, known: Sequence[str], texts: Sequence[str], ids: Sequence[str]
    ) -> list[str | None]:
        if self.changed:
            return [None] * len(ids)
        return [texts[row] if row >= 0 else None for row in _rows(known, ids).tolist()]

    @cached_property
    def judgments(self) -> pl.DataFrame:
        """Columns ``query_id``, ``doc_id`` and ``grade``."""
        return self.dataset.qrels.to_frame().rename({"relevance": "grade"})

    def where(self, filter_: str | None, ids: Sequence[str]) -> NDArray[np.int8]:
        """Say for documents whether they are in the corpus, and pass a filter.

        Parameters
        ----------
        filter_ : str or None
            As tables show it.
        ids : sequence of str
            Of n documents.

        Returns
        -------
        ndarray of int8, shape (n,)
            1: passes; 0: does not pass; -1: is not in the corpus.

        Raises
        ------
        InputError
            If the filter is none of the sweep's.
        """
        rows = _rows(self.dataset.document_ids, ids)
        found = np.where(rows >= 0, 1, -1).astype(np.int8)
        if filter_ is not None:
            if filter_ not in self.filters:
                raise InputError(f"the filter {filter_!r} is none of the sweep's")
            passes = self._mask(filter_)
            found[rows >= 0] = passes[rows[rows >= 0]]
        return found

    def _mask(self, filter_: str) -> NDArray[np.bool_]:
        where = self.filters[filter_]
        columns = [one.column for one in where.conditions]
        return where.mask(self.dataset.attribute_table(columns))


def _rows(known: Sequence[str], ids: Sequence[str]) -> NDArray[np.int64]:
    """Find the rows of some ids among many, by one join; -1 where there is none."""
    import polars as pl

    wanted = pl.LazyFrame({"id": pl.Series(list(ids), dtype=pl.String)}).with_row_index("place")
    all_ = pl.LazyFrame({"id": Ids.of(known).column}).with_row_index("row")
    found = all_.join(wanted, on="id").select("place", "row").collect()
    rows = np.full(len(ids), -1, dtype=np.int64)
    rows[found["place"].to_numpy()] = found["row"].to_numpy()
    return rows


def first_texts(
    read: Callable[[Sequence[str]], Sequence[str | None]],
    ids: Sequence[str],
    longest: int,
    room: int,
) -> tuple[dict[str, Text], int]:
    """Read the beginnings of texts, a few texts at a time, as far as there is room for them.

    Parameters
    ----------
    read : callable
        Returns texts for some ids; None for one without.
    ids : sequence of str
        Which, the more important ones first.
    longest : int
        Characters of one text.
    room : int
        Characters of all of them.

    Returns
    -------
    texts : dict of str to (str, bool)
        Beginnings by id, and whether there is more. What is no Unicode text is replaced.
    left : int
        How many texts there was no room for.

    Examples
    --------
    >>> first_texts(lambda ids: [one * 3 for one in ids], ["ab", "c", "d"], 4, 7)
    ({'ab': ('abab', True), 'c': ('ccc', False)}, 1)
    """
    found: dict[str, Text] = {}
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        for place, (id_, text) in enumerate(zip(some, read(some), strict=True), start=start):
            if text is None:
                continue
            kept = text[:longest].encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            room -= len(kept)
            if room < 0:
                return found, len(ids) - place
            found[id_] = (kept, len(text) > longest)
    return found, 0


def load_sources(
    results: Tables,
    store: Store | None = None,
    *,
    loaded: Mapping[str, Dataset] | None = None,
    fetch: bool = False,
) -> dict[str, Source | str]:
    """Load the data sets of a finished sweep again, and check that they have not changed.

    Parameters
    ----------
    results : Results
        A finished sweep.
    store : Store, optional
        Where prepared data is kept; the user's own store by default.
    loaded : mapping of str to Dataset, optional
        Data sets that are at hand, by their names in the tables: these are not loaded, but checked
        alike.
    fetch : bool
        Whether to fetch the files of a card that are not in the store. A source that fetches by
        itself, such as ir-datasets, does so where files of its own are missing.

    Returns
    -------
    dict of str to Source or str
        For each data set of the tables, what was loaded, or a sentence that says why nothing was.
        Where only texts have changed, and judgments have not, a source that says so.
    """
    from retrieval_eval.remote import open_store

    manifest = results.manifest
    labels = results.rows["dataset"].unique(maintain_order=True).to_list()
    filters = _filters(manifest)
    found: dict[str, Source | str] = {}
    named: dict[str, NamedDataset] = {}
    reason = "the manifest of the results does not name it"
    if any(label not in (loaded or {}) for label in labels):
        store = store or open_store()
        named, problem = _named(manifest)
        reason = problem or reason
    for label in labels:
        dataset: Dataset | str
        if loaded and label in loaded:
            dataset = loaded[label]
        elif label in named and store is not None:
            dataset = _load(named[label], store, fetch=fetch)
        else:
            dataset = reason
        if isinstance(dataset, str):
            found[label] = f"The data set {label!r} cannot be loaded again: {dataset}"
        else:
            found[label] = _checked(dataset, label, manifest, filters)
    return found


def _named(manifest: Mapping[str, Any]) -> tuple[dict[str, NamedDataset], str]:
    """Find what the entries of a sweep stand for, and why not all of them do any more."""
    from retrieval_eval.sweep.choices import dataset_choices

    named: dict[str, NamedDataset] = {}
    problem = ""
    for entry in manifest.get("sweep", {}).get("datasets", ()):
        try:
            named |= {one.label: one for one in dataset_choices(entry)}
        except Exception as error:  # noqa: BLE001  a source of one's own may raise anything
            problem = _sentence(error)
    return named, problem


def _load(named: NamedDataset, store: Store, *, fetch: bool) -> Dataset | str:
    card = named.card
    if card is not None and not fetch:
        folder = card.folder_in(store)
        missing = [
            one.file_name
            for one in card.files
            if not any(
                (folder / name).exists()
                for name in (one.file_name, one.unpacked_name or one.file_name)
            )
        ]
        if missing:
            return f"{missing[0]} is not in {folder} any more, and reports fetch nothing"
    try:
        return named.load(store)
    except Exception as error:  # noqa: BLE001  a source of one's own may raise anything
        return _sentence(error)


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _checked(
    dataset: Dataset, label: str, manifest: Mapping[str, Any], filters: Mapping[str, Filter]
) -> Source | str:
    """Compare checksums with those of the manifest."""
    then = manifest.get("datasets", {}).get(label, {})
    now = dataset.summary()
    if then.get("qrels") != now["qrels"]:
        return f"The judgments of the data set {label!r} are others than when the sweep was run."
    changed = [what for name, what in _TEXTS.items() if then.get(name) != now[name]]
    if not changed:
        return Source(dataset, filters)
    return Source(
        dataset,
        filters,
        f"The {' and '.join(changed)} of the data set {label!r} are others than when the sweep was "
        "run, so their texts are not shown.",
    )


def _filters(manifest: Mapping[str, Any]) -> dict[str, Filter]:
    """Read the filters of a sweep, by the text that tables show."""
    wanted = manifest.get("sweep", {}).get("filters", ())
    parsed = [Filter.parse(one) for one in wanted if isinstance(one, Mapping)]
    return {str(one): one for one in parsed}
