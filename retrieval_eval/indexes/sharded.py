"""Several indexes, each over a part of the documents, whose hits are merged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.indexes._combinator import Combinator, CombinatorBuild, _save_inner
from retrieval_eval.indexes.base import BoundSearch, Index
from retrieval_eval.indexes.selection import RawHits, Selection, finds_nothing

__all__ = ["ShardedBuild", "ShardedIndex"]


@dataclass(frozen=True)
class ShardedBuild(CombinatorBuild):
    """Build parameters of :class:`ShardedIndex`.

    Parameters
    ----------
    index : str or mapping
        The index of each part.
    shards : int
        Number of parts.
    """

    shards: Annotated[int, Ge(1)] = 4


class ShardedIndex(Combinator):
    """Cuts the documents into equal parts in their order, and merges the hits of an index of each.

    Parts are searched one after another, so a latency is the sum of theirs; on machines of their
    own it would be the slowest one's. Settings hold in each part: with nprobe lists, nprobe lists
    of every part are visited.
    """

    name: ClassVar[str] = "sharded"
    Build: ClassVar[type[Any]] = ShardedBuild
    _shards: tuple[Index, ...] = ()

    def _starts(self) -> list[int]:
        return [self.n * part // self.parameters.shards for part in range(self.parameters.shards)]

    def check(self, n: int, d: int | None) -> None:
        """Refuse more parts than documents, and what the inner index refuses for the smallest."""
        if self.parameters.shards > n:
            raise InputError(
                f"index {self.name!r}: shards is {self.parameters.shards}, but there are only {n} "
                "vectors: choose at most their number"
            )
        self.inner.check(n // self.parameters.shards, d)

    def check_sweep(self, search: Any, n: int, d: int) -> None:
        """Refuse what the inner index refuses for one part."""
        super().check_sweep(search, n // self.parameters.shards, d)

    def note(self, search: Any, n: int, k: int) -> str | None:
        """Return the note of the inner index for one part."""
        return super().note(search, n // self.parameters.shards, k)

    def _build(self, vectors: NDArray[np.float32]) -> None:
        starts = self._starts()
        shards = []
        for start, stop in zip(starts, [*starts[1:], self.n], strict=True):
            rows = None if self.attributes is None else self.attributes[start:stop]
            part = vectors[start:stop]
            shards.append(self._make_inner().build(part, attributes=rows, queries=self._examples))
        self._set(shards)

    def _set(self, shards: list[Index]) -> None:
        self._shards = tuple(shards)
        self.inner = shards[0]  # speaks for all of them
        times = [shard.train_s for shard in shards]
        if shards[0].train_s is not None:
            self.inner.train_s = sum(time for time in times if time is not None)

    def _bind_selected(self, k: int, search: Any, selection: Selection | None) -> BoundSearch:
        starts = self._starts()
        calls = []
        for start, shard in zip(starts, self._shards, strict=True):
            part = None
            if selection is not None:
                mask = selection.mask[start : start + shard.n]
                part = Selection(mask, int(mask.sum()), selection.filter)
            call = self._bind_inner(shard, k, search, part)
            if call is not finds_nothing:
                calls.append((start, call))

        def merged(queries: NDArray[np.float32]) -> RawHits:
            found = [(start, *call(queries)) for start, call in calls]
            labels = np.hstack([np.where(ids < 0, -1, ids + start) for start, ids, _ in found])
            scores = np.hstack([similar for _, _, similar in found])
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            return np.take_along_axis(labels, order, 1), np.take_along_axis(scores, order, 1)

        return merged if calls else finds_nothing

    def _served_by(self, k: int, search: Any, selection: Selection | None) -> str:
        return f"{len(self._shards)} shards, each {super()._served_by(k, search, None)}"

    def _save(self, folder: Path) -> None:
        for number, shard in enumerate(self._shards):
            _save_inner(shard, folder / f"shard-{number:04d}")

    def _load(self, folder: Path) -> None:
        self._set([self._load_inner(path) for path in sorted(folder.glob("shard-*"))])
        self.filtering = self.inner.filtering

    def size_bytes(self) -> int:
        """Size of all parts, in bytes."""
        return sum(shard.size_bytes() for shard in self._shards)

    def close(self) -> None:
        """Close every part."""
        super().close()
        for shard in self._shards:
            shard.close()
