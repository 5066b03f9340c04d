"""What the indexes around an index share."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.indexes import INDEXES, index_specification
from retrieval_eval.indexes.base import BoundSearch, Index, Vectors
from retrieval_eval.indexes.selection import Selection, finds_nothing
from retrieval_eval.neighbours import Metric
from retrieval_eval.parameters import Entry, parse_entry
from retrieval_eval.plugins import own_code

__all__ = ["Combinator", "CombinatorBuild", "CombinatorSearch"]

_FACTS = "facts.json"


@dataclass(frozen=True)
class CombinatorBuild:
    """Build parameters of an index around an index.

    Parameters
    ----------
    index : str or mapping
        The inner index, as in a sweep file: a name, or a mapping of one name to its parameters.
    """

    index: Entry


@dataclass(frozen=True)
class CombinatorSearch:
    """Search parameters of an index around an index.

    Parameters
    ----------
    index : mapping
        Search parameters of the inner index.
    """

    index: dict[str, Any] = field(default_factory=dict)


class Combinator(Index):
    """An index around an index: it changes what goes in, or what comes out.

    Vectors come to the inner index prepared, so for cosine it works by inner products of unit
    vectors. Filters, threads, seed and mapped loading are handed on.

    Attributes
    ----------
    inner : Index
        The inner index.
    """

    Build: ClassVar[type[Any]] = CombinatorBuild
    Search: ClassVar[type[Any]] = CombinatorSearch
    memory_maps: ClassVar[bool] = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        name, given = parse_entry(self.parameters.index)
        backend, fixed, self._inner_search = index_specification(name)
        unserved = sorted({"label", "search"} & {*given})
        if unserved:
            raise InputError(
                f"index {self.name!r}: {unserved[0]!r} cannot stand inside another index: "
                "search parameters of the inner index go below search: {index: ...}"
            )
        self._inner_class: type[Index] = INDEXES.load(backend)
        if self._inner_class.takes != self.takes:
            raise InputError(
                f"index {self.name!r} takes {self.takes} vectors, {backend!r} inside it "
                f"{self._inner_class.takes} ones: use {backend!r} by itself"
            )
        self._inner_parameters = {**fixed, **given}
        self.inner = self._make_inner()
        self.seeded, self.in_process = self.inner.seeded, self.inner.in_process
        self.stored = self.inner.stored
        self._examples: NDArray[np.float32] | None = None
        # The form that is self-contained: no named specification has to be looked up again.
        whole: Entry = {backend: asdict(self.inner.parameters)}
        self.parameters = replace(self.parameters, index=whole)

    def classes(self) -> tuple[type[Index], ...]:
        """Return its class, and those of indexes inside it."""
        return (type(self), *self.inner.classes())

    def _make_inner(self) -> Index:
        inner = self._inner_class(
            metric=self._inner_metric(),
            seed=self.seed,
            threads=self.threads,
            **self._inner_parameters,
        )
        inner.search_defaults = self._inner_search
        return inner

    def _inner_metric(self) -> Metric:
        return "ip" if self.metric == "cosine" else self.metric

    # -- what a combinator implements ----------------------------------------------------------

    @abstractmethod
    def _bind_selected(self, k: int, search: Any, selection: Selection | None) -> BoundSearch:
        """Bind a search of the inner index; its call returns labels and similarities."""

    def _bind_inner(
        self, inner: Index, k: int, search: Any, selection: Selection | None
    ) -> BoundSearch:
        """Bind the inner search so that it returns similarities, higher is better."""
        if selection is not None and not selection.matches:
            return finds_nothing
        call = inner._bind_selected(min(k, inner.n), inner.settings(search.index), selection)

        def similar(queries: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
            labels, raw = call(queries)
            labels = labels.astype(np.int64, copy=False)
            return labels, np.where(labels < 0, -np.inf, inner._similarities(raw))

        return similar

    # -- the contract, handed on ---------------------------------------------------------------

    def check(self, n: int, d: int | None) -> None:
        """Refuse what the inner index refuses."""
        self.inner.check(n, d)

    def settings(self, search: Mapping[str, Any]) -> Any:
        """Check search parameters, those of the inner index included."""
        own = super().settings(search)
        inner = self.inner.settings(own.index)
        return replace(own, index=asdict(inner))

    def check_sweep(self, search: Any, n: int, d: int) -> None:
        """Refuse what the inner index refuses."""
        self.inner.check_sweep(self.inner.settings(search.index), n, d)

    def attribute_columns(self) -> list[str]:
        """Name the attributes that the inner index needs."""
        return self.inner.attribute_columns()

    @classmethod
    def intact(cls, folder: Path, facts: Mapping[str, Any]) -> bool:
        """Whether all that the inner index points to is still there."""
        inner_class = INDEXES.load(parse_entry(facts["parameters"]["index"])[0])
        inner_facts = {path.parent: _read_facts(path.parent) for path in folder.glob(f"*/{_FACTS}")}
        return all(inner_class.intact(*one) for one in inner_facts.items())

    def note(self, search: Any, n: int, k: int) -> str | None:
        """Return the note of the inner index."""
        return self.inner.note(self.inner.settings(search.index), n, k)

    def identity(self) -> dict[str, Any]:
        """Return what decides the index, the inner one and its code included."""
        own = {**super().identity(), "inner": self.inner.identity()}
        # The parameter would hold the same once more, and hide the backend's name in a key.
        code = own_code(self._inner_class)
        return {**own, "index": self.name, **({"inner_code": code} if code else {})}

    def versions(self) -> dict[str, str]:
        """Return the versions of the libraries of both."""
        return {**super().versions(), **self.inner.versions()}

    def require(self) -> None:
        """Raise :class:`MissingExtraError` if a library of the inner index is not installed."""
        self.inner.require()

    def build(self, vectors: Vectors, **options: Any) -> Self:
        """Build the index and the one inside; see :meth:`Index.build`."""
        super().build(vectors, **options)
        self.filtering = self.inner.filtering
        if self.inner.train_s is not None:
            self.train_s = self.inner.train_s + (self.train_s or 0.0)
        return self

    def close(self) -> None:
        """Close the inner index."""
        super().close()
        self.inner.close()

    def _train(self, vectors: NDArray[np.float32], queries: NDArray[np.float32] | None) -> bool:
        self._examples = queries  # the inner index may learn from them
        return False

    def _load_libraries(self) -> None:
        self.inner._load_libraries()  # loaded first, so that the limit here reaches them too
        super()._load_libraries()

    def _bind(self, k: int, search: Any) -> BoundSearch:
        return self._bind_selected(k, search, None)

    def _similarities(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        return raw

    def _served_by(self, k: int, search: Any, selection: Selection | None) -> str:
        inner = self.inner._served_by(k, self.inner.settings(search.index), selection)
        return f"{self.name} over {inner}"

    def _save(self, folder: Path) -> None:
        _save_inner(self.inner, folder / "inner")

    def _load(self, folder: Path) -> None:
        self.inner = self._load_inner(folder / "inner")
        self.filtering = self.inner.filtering

    def _load_inner(self, folder: Path) -> Index:
        facts = _read_facts(folder)
        mapped = self.memory_mapped and self._inner_class.memory_maps
        return self._inner_class.restore(folder, facts, threads=self.threads, memory_map=mapped)


def _read_facts(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    return facts


def _save_inner(inner: Index, folder: Path) -> None:
    folder.mkdir()
    facts = inner.write_files(folder)
    (folder / _FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
