"""A backend in NumPy alone: one byte a dimension, a scale for each document, every one compared."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from retrieval_eval import Index


@dataclass(frozen=True)
class Int8Build:
    """levels: how many steps a byte is used for on each side of zero."""

    levels: Annotated[int, Ge(1), Le(127)] = 127


class Int8Index(Index):
    """Scans vectors of one byte a dimension."""

    name = "int8"
    Build = Int8Build
    metrics = ("cosine", "ip")
    filtering = "pre"
    seeded = False
    stored = "8-bit integers"
    distributions = ("numpy",)

    def _build(self, vectors):
        largest = np.abs(vectors).max(axis=1, keepdims=True)
        self._scale = np.where(largest > 0, largest, 1) / self.parameters.levels
        self._codes = np.rint(vectors / self._scale).astype(np.int8)

    def _bind(self, k, search):
        return self._bind_filtered(k, search, None)

    def _bind_filtered(self, k, search, selection):
        rows = np.arange(self.n) if selection is None else np.flatnonzero(selection.mask)
        codes, scale = self._codes[rows].astype(np.float32), self._scale[rows, 0]

        def call(queries):
            scores = (queries @ codes.T) * scale
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            return rows[order], np.take_along_axis(scores, order, axis=1)

        return call

    def _similarities(self, raw):
        return raw

    def _save(self, folder):
        np.savez(folder / "codes.npz", codes=self._codes, scale=self._scale)

    def _load(self, folder):
        with np.load(folder / "codes.npz", allow_pickle=False) as saved:
            self._codes, self._scale = saved["codes"], saved["scale"]
