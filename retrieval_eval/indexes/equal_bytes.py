"""Ways to keep a vector in a given number of bytes, as entries of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.indexes import Index, get_index

__all__ = ["METHODS", "Compressed", "compressed_indexes"]

Entry = dict[str, Any]
Found = tuple[Entry, int]  # an index, and the bytes it takes for a vector

_LEAST_DIMENSIONS = 4  # of floats
_LEAST_BITS = 64
_ONE_BIT, _MORE_BITS = 8, 20  # bytes of RaBitQ's factors for a vector, with one bit and with more


@dataclass(frozen=True)
class Compressed:
    """One way to keep vectors, by itself or refined.

    Parameters
    ----------
    method : str
        A key of :data:`METHODS`.
    budget : int
        Bytes a vector may take.
    bytes : int
        Bytes it takes; what an index keeps once (centroids, rotations) is not counted.
    refined : bool
        Whether full vectors, from a file, rank the candidates again.
    label : str
        What tables call it.
    entry : dict
        An entry of a sweep's ``indexes``.
    """

    method: str
    budget: int
    bytes: int
    refined: bool
    label: str
    entry: Mapping[str, Any]

    def make(self, **options: Any) -> Index:
        """Construct the index, outside a sweep; search settings of the entry are its defaults.

        Parameters
        ----------
        **options
            ``metric``, ``seed``, ``threads``.
        """
        ((backend, given),) = self.entry.items()
        parameters = {key: given[key] for key in given if key not in ("label", "search")}
        index = get_index(backend, **parameters, **options)
        index.search_defaults = {**index.search_defaults, **given.get("search", {})}
        return index


def compressed_indexes(
    d: int,
    budgets: Sequence[int],
    *,
    methods: Sequence[str] = (),
    most: Mapping[str, int] | None = None,
    depth: int | None = None,
) -> list[Compressed]:
    """List what can keep a vector in some bytes, for comparisons at equal bytes.

    Parameters
    ----------
    d : int
        Dimensions of the vectors.
    budgets : sequence of int
        Bytes a vector may take. A method that cannot fill three quarters of them is left out.
    methods : sequence of str
        Keys of :data:`METHODS`; by default all.
    most : mapping of str to int, optional
        Largest budget of some methods: rotations take long to learn.
    depth : int, optional
        Also list each of them refined: full vectors rank this many candidates again.

    Raises
    ------
    InputError
        For an unknown method, or a dimension or budget below 1.

    Examples
    --------
    >>> for one in compressed_indexes(256, [16], methods=["pq", "pca-int8"]):
    ...     print(one.label, one.entry)
    pq 16 B {'pq': {'label': 'pq 16 B', 'm': 16}}
    pca-int8 16 B {'project': {'label': 'pca-int8 16 B', 'd': 16, 'index': 'sq8'}}
    """
    limits = most or {}
    for name in (*methods, *limits):
        if name not in METHODS:
            raise unknown_name("method", name, METHODS)
    for what, values in (("dimension", [d]), ("budget", budgets)):
        if min(values, default=1) < 1:
            raise InputError(f"the {what} is {min(values)}: it must be at least 1")
    return [
        one
        for name in methods or METHODS
        for budget in budgets
        if budget <= limits.get(name, budget)
        for one in _listed(name, d, budget, depth)
    ]


def _listed(name: str, d: int, budget: int, depth: int | None) -> Iterator[Compressed]:
    found = METHODS[name](d, budget)
    if found is None or found[1] > budget or 4 * found[1] < 3 * budget:
        return
    ((backend, parameters),), taken = found[0].items(), found[1]
    label = f"{name} {taken} B"
    alone = {backend: {"label": label, **parameters}}
    yield Compressed(name, budget, taken, False, label, alone)
    if depth is not None:
        built = {key: value for key, value in parameters.items() if key != "search"}
        inner = {backend: built} if built else backend
        search = {"depth": depth}
        if "search" in parameters:
            search["index"] = parameters["search"]
        label += ", refined"
        options = {"label": label, "index": inner, "search": search}
        yield Compressed(name, budget, taken, True, label, {"refine": options})


def _pq(d: int, budget: int) -> Found | None:
    m = max((m for m in range(1, d // 2 + 1) if d % m == 0 and m <= budget), default=None)
    return None if m is None else ({"pq": {"m": m}}, m)


def _opq(d: int, budget: int) -> Found | None:
    if budget > d // 2:
        return None
    return {"faiss": {"factory": f"OPQ{budget}_{d - d % budget},PQ{budget}x8"}}, budget


def _scalar(d: int, budget: int) -> Found | None:
    for bits in (8, 6, 4):
        if d * bits <= 8 * budget:
            entry = {"sq8": {}} if bits == 8 else {"faiss": {"factory": f"SQ{bits}"}}
            return entry, -(-d * bits // 8)
    return None


def _rabitq(d: int, budget: int) -> Found | None:
    """Take the fewest bits that fill the budget, in multiples of 8 dimensions.

    With the query in 8 bits, the library compares bits by the word; in float32, one by one, which
    takes a hundred times as long and finds no more.
    """
    for bits in range(1, 10):
        kept = min(d - d % 8, (budget - (_ONE_BIT if bits == 1 else _MORE_BITS)) * 8 // bits)
        kept -= kept % 8
        taken = kept * bits // 8 + (_ONE_BIT if bits == 1 else _MORE_BITS)
        if kept >= _LEAST_BITS and (kept < d - d % 8 or bits == 9 or 4 * taken >= 3 * budget):
            return _cut(d, kept, "pca", "rabitq", {"bits": bits}, {"query_bits": 8}), taken
    return None


def _binary(d: int, budget: int) -> Found | None:
    kept = min(d, 8 * budget)
    return (_cut(d, kept, "pca", "binary"), -(-kept // 8)) if kept >= _LEAST_BITS else None


def _floats(method: str) -> Callable[[int, int], Found | None]:
    def found(d: int, budget: int) -> Found | None:
        kept = budget // 4
        if not _LEAST_DIMENSIONS <= kept < d:
            return None
        return _cut(d, kept, method, "flat"), 4 * kept

    return found


def _pca_bytes(d: int, budget: int) -> Found | None:
    return (_cut(d, budget, "pca", "sq8"), budget) if _LEAST_DIMENSIONS <= budget < d else None


def _cut(
    d: int,
    kept: int,
    method: str,
    backend: str,
    parameters: Mapping[str, Any] | None = None,
    search: Mapping[str, Any] | None = None,
) -> Entry:
    built = dict(parameters or {})
    if kept == d:
        return {backend: {**built, **({"search": search} if search else {})}}
    options: dict[str, Any] = {"d": kept}
    if method != "pca":
        options["method"] = method
    options["index"] = {backend: built} if built else backend
    if search:
        options["search"] = {"index": search}
    return {"project": options}


METHODS: Mapping[str, Callable[[int, int], Found | None]] = {
    "pq": _pq,
    "opq": _opq,
    "scalar": _scalar,
    "rabitq": _rabitq,
    "binary": _binary,
    "truncated": _floats("truncate"),
    "pca": _floats("pca"),
    "pca-int8": _pca_bytes,
}
"""Product quantisation of 8 bits a sub-vector, alone and after a learnt rotation; whole vectors of
8, 6 or 4 bits a dimension; RaBitQ and signs, after principal components where the vector has too
many dimensions; the first dimensions and principal components in float32; components in a byte."""
