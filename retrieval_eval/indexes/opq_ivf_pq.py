"""Inverted file with product quantisation after a learnt rotation."""

from __future__ import annotations

from typing import Any, ClassVar

from retrieval_eval.errors import InputError
from retrieval_eval.indexes._faiss import (
    check_centroids,
    check_rotation,
    few_points_note,
    from_factory,
    set_training,
)
from retrieval_eval.indexes.ivf_pq import IvfPqIndex

__all__ = ["OpqIvfPqIndex"]


class OpqIvfPqIndex(IvfPqIndex):
    """Rotates vectors so that product quantisation loses less (Ge et al. 2013), then as ``ivf-pq``.

    A dimension that m does not divide is cut to the next smaller multiple by the rotation.
    """

    name: ClassVar[str] = "opq-ivf-pq"

    def check(self, n: int, d: int | None) -> None:
        """Refuse too few training points, and more sub-vectors than dimensions."""
        own = self.parameters
        check_centroids(self.name, "nlist", own.nlist, own.nlist, n)
        check_centroids(self.name, "nbits", own.nbits, max(256, 2**own.nbits), n)
        check_rotation(self.name, n, d)
        if d is not None and own.m > d:
            raise InputError(
                f"index {self.name!r}: m is {own.m}: vectors of dimension {d} have at most {d} "
                "sub-vectors"
            )

    def note(self, search: Any, n: int, k: int) -> str | None:
        """Say where training had too few points; the rotation learns with 256 centroids."""
        return few_points_note(max(self.parameters.nlist, 256, 2**self.parameters.nbits), n)

    def _empty(self, d: int, metric: int) -> Any:

        own = self.parameters
        factory = f"OPQ{own.m}_{d - d % own.m},IVF{own.nlist},PQ{own.m}x{own.nbits}"
        return set_training(from_factory(self.name, d, factory, metric), self.seed)
