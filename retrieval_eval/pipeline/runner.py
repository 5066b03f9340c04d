"""Where builds and searches are done: in this process, or in a child that may die of them."""

from __future__ import annotations

import pickle
from typing import Any

from retrieval_eval.indexes import Index
from retrieval_eval.isolation import Worker
from retrieval_eval.pipeline.building import Attributes, Built, build
from retrieval_eval.pipeline.embedding import Embeddings
from retrieval_eval.pipeline.searching import Searched, search
from retrieval_eval.pipeline.truth import Truth
from retrieval_eval.store import Store

__all__ = ["Runner"]


class Runner:
    """Builds and searches, in a child process if there is a worker.

    What the child makes goes into the store, as it would from here. Only an index whose class the
    child cannot import, such as one of an interactive session, is built and searched here.

    Parameters
    ----------
    worker : Worker or None
        The child; None for this process.
    """

    def __init__(self, worker: Worker | None) -> None:
        self._worker = worker

    def build(
        self,
        store: Store,
        embeddings: Embeddings,
        index: Index,
        attributes: Attributes | None,
        *,
        memory: bool,
    ) -> Built:
        """Build an index, or find it: see :func:`retrieval_eval.pipeline.building.build`."""
        there = self._there(type(index))
        if there is None:
            return build(store, embeddings, index, attributes, memory=memory)
        built: Built = there.run(build, _quiet(store), embeddings, index, attributes, memory=memory)
        return built

    def search(
        self, store: Store, embeddings: Embeddings, built: Built, truth: Truth, **options: Any
    ) -> Searched:
        """Search an index, or find its hits: see :func:`retrieval_eval.pipeline.search`."""
        there = self._there(built.index_class)
        if there is None:
            return search(store, embeddings, built, truth, **options)
        searched: Searched = there.run(
            _search_there, _quiet(store), embeddings, built, truth, **options
        )
        return searched

    def _there(self, cls: type[Index]) -> Worker | None:
        if self._worker is None or cls.__module__ == "__main__":
            return None
        try:
            pickle.dumps(cls)
        except (pickle.PicklingError, AttributeError):  # a class inside a function
            return None
        return self._worker


def _quiet(store: Store) -> Store:
    """Return a store that another process can be given."""
    return Store(store.root)


_opened: dict[tuple[str, int], Built] = {}  # in the child: the index that was searched last


def _search_there(
    store: Store, embeddings: Embeddings, built: Built, truth: Truth, **options: Any
) -> Searched:
    key = built.artefact.key, built.threads
    if key not in _opened:
        for other in _opened.values():
            other.close()
        _opened.clear()
        _opened[key] = built
    return search(store, embeddings, _opened[key], truth, **options)
