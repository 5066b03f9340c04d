"""Re-ranking by a cross-encoder of sentence-transformers, by hub name or local folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import polars as pl
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.combiners.base import CombineContext, Combined, Combiner
from retrieval_eval.errors import InputError
from retrieval_eval.ids import Ids
from retrieval_eval.models import find_commit, folder_digest, no_bars
from retrieval_eval.runs import Run, ranked

__all__ = ["CrossEncoderCombiner", "CrossEncoderParameters", "merge_scores"]

_PAIRS = 1 << 14  # pairs whose texts are in memory at a time


@dataclass(frozen=True)
class CrossEncoderParameters:
    """Parameters of :class:`CrossEncoderCombiner`.

    Parameters
    ----------
    model : str
        A folder, or a name on the model hub.
    revision : str or None
        Branch, tag or commit of a hub model; give a commit for results that stay.
    depth : int
        The first so many documents of each query are ranked again.
    keep_rest : bool
        Keep the others below them, in their order; or cut them off.
    activation : {'identity', 'sigmoid', 'model'}
        What is applied to the model's output. ``identity`` ranks best: a sigmoid, the library's
        default for most models, makes equal numbers of high scores, which are then ordered by id.
        ``model`` takes what the model declares.
    prompt : str or None
        Text put before each query; None takes what the model declares, if anything.
    max_length : int or None
        Longest pair in tokens; None keeps the model's own.
    dtype : {'float32', 'float16', 'bfloat16'} or None
        Of the weights; None keeps what the library loads.
    batch_size : int
        Pairs a forward pass.
    device : str or None
        ``"cpu"``, ``"cuda"``, ...; None lets the library choose.
    """

    model: str
    revision: str | None = None
    depth: Annotated[int, Ge(1)] = 100
    keep_rest: bool = True
    activation: Literal["identity", "sigmoid", "model"] = "identity"
    prompt: str | None = None
    max_length: Annotated[int, Ge(1)] | None = None
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    batch_size: Annotated[int, Ge(1)] = 32
    device: str | None = None


class CrossEncoderCombiner(Combiner):
    """Ranks the first documents of a run again, by a model that reads query and document together.

    A pair of texts that comes several times is scored once. A local folder is identified by the
    content of its files, a hub model by name and revision. Device and batch size are no part of the
    identity: they change speed, and the last digits.

    The facts are ``pairs`` (how many were ranked again), ``scored`` (how many differ in their
    texts), and ``seconds`` (the time that scoring took, without loading the model).
    """

    name: ClassVar[str] = "cross-encoder"
    Parameters: ClassVar[type[Any]] = CrossEncoderParameters
    requires: ClassVar[dict[str, str]] = {"sentence_transformers": "sentence-transformers"}
    distributions: ClassVar[tuple[str, ...]] = ("sentence-transformers", "transformers", "torch")
    inputs: ClassVar[tuple[int, int | None]] = (1, 1)
    uses_texts: ClassVar[bool] = True

    _model: Any = None

    def identity(self) -> dict[str, Any]:
        """Return model content or name and revision, and all that shapes the run."""
        fields = {
            key: value
            for key, value in super().identity().items()
            if key not in {"batch_size", "device"}
        }
        folder = Path(self.parameters.model)
        if folder.is_dir():
            fields["model"] = folder_digest(folder)
        else:
            fields["revision"] = self._revision
        return fields

    @cached_property
    def _revision(self) -> str | None:
        """The commit of a model of the hub, if it can be known; the same is loaded."""
        own = self.parameters
        if Path(own.model).is_dir():
            return None
        self.require()
        found = find_commit([own.model], own.revision)
        revision: str | None = own.revision if found is None else found[1]
        return revision

    def combine(self, runs: Sequence[Run], context: CombineContext) -> Combined:
        """Rank the first documents of a run again.

        Raises
        ------
        InputError
            If a text is missing, the model cannot be loaded or has several outputs, or a score is
            not finite.
        """
        self.check(len(runs))
        own = self.parameters
        run = runs[0].top(max(own.depth, context.k) if own.keep_rest else own.depth)
        rows = np.flatnonzero(run.rank <= own.depth)
        texts = _Texts.of(run, rows, context, self._where)
        model = self._load()
        scores = np.empty(len(rows))
        scored, seconds = 0, 0.0
        for start in range(0, len(rows), _PAIRS):
            part = slice(start, start + _PAIRS)
            pairs = texts.pairs(part)
            distinct = {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}
            began = time.perf_counter()
            found = self._score(model, list(distinct))
            seconds += time.perf_counter() - began
            scored += len(distinct)
            scores[part] = found[[distinct[pair] for pair in pairs]]
        bad = np.flatnonzero(~np.isfinite(scores))
        if len(bad):
            row = rows[bad[0]]
            raise InputError(
                f"{self._where}: the score of query {run.query_ids[run.query[row]]!r} and document "
                f"{run.document_ids[run.document[row]]!r} is {scores[bad[0]]}, as are {len(bad)} "
                f"of {len(scores)}: are the model's weights damaged, or its dtype too narrow?"
            )
        result = replace(merge_scores(run, own.depth, scores).top(context.k), name=context.name)
        return Combined(result, {"pairs": len(rows), "scored": scored, "seconds": seconds})

    def _score(self, model: Any, pairs: list[tuple[str, str]]) -> NDArray[np.float64]:
        """Score pairs; the library sorts them by length."""
        import torch

        own = self.parameters
        functions = {"identity": torch.nn.Identity(), "sigmoid": torch.nn.Sigmoid()}
        scores = model.predict(
            pairs,
            batch_size=own.batch_size,
            activation_fn=functions.get(own.activation),
            show_progress_bar=False,
            convert_to_numpy=True,
            **({} if own.prompt is None else {"prompt": own.prompt}),
        )
        return np.asarray(scores, dtype=np.float64)

    def _load(self) -> Any:
        if self._model is None:
            self.require()
            from sentence_transformers import CrossEncoder

            own = self.parameters
            try:
                with no_bars():
                    model = CrossEncoder(
                        own.model,
                        revision=self._revision,
                        device=own.device,
                        max_length=own.max_length,
                    )
            except (OSError, ValueError) as error:
                reason = str(error).strip().splitlines()[0]
                raise InputError(
                    f"{self._where}: model {own.model!r} cannot be loaded: {reason} Give a folder, "
                    "or a hub name while the hub can be reached"
                ) from error
            if model.num_labels != 1:
                raise InputError(
                    f"{self._where}: model {own.model!r} has {model.num_labels} outputs, which "
                    "order nothing: re-ranking needs a model with one"
                )
            if own.dtype is not None:
                import torch

                model.to(dtype=getattr(torch, own.dtype))
            self._model = model
        return self._model


def merge_scores(run: Run, depth: int, scores: NDArray[np.float64]) -> Run:
    """Give the first documents of each query new scores, and the others scores below them.

    Parameters
    ----------
    run : Run
        In rank order.
    depth : int, at least 1
        How many documents of each query get a new score.
    scores : ndarray of float64
        The new scores of ``run.rank <= depth``, in that order; finite.

    Returns
    -------
    Run
        The first documents by their new scores. The others follow in the order that they had: each
        has a score 1 below the one before, the first of them below the lowest new score; more
        than 1 where scores are so large that 1 would be lost.

    Examples
    --------
    >>> run = Run.from_mapping({"q1": {"a": 9.0, "b": 8.0, "c": 7.0, "d": 7.0}})
    >>> merge_scores(run, 2, np.array([0.25, 0.75])).to_mapping()
    {'q1': {'b': 0.75, 'a': 0.25, 'd': -0.75, 'c': -1.75}}
    """
    rank = run.rank
    first = rank <= depth
    lowest = np.full(len(run.query_ids), np.inf)
    np.minimum.at(lowest, run.query[first], scores)
    below = lowest[run.query[~first]]
    merged = np.empty(len(run))
    merged[first] = scores
    merged[~first] = below - (rank[~first] - depth) * np.maximum(1.0, 4 * np.spacing(np.abs(below)))
    return ranked(replace(run, score=merged))


@dataclass(frozen=True, eq=False)
class _Texts:
    """Where the texts of some rows of a run are."""

    context: CombineContext
    query: NDArray[np.int64]
    document: NDArray[np.int64]

    @classmethod
    def of(cls, run: Run, rows: NDArray[np.int64], context: CombineContext, where: str) -> _Texts:
        row_of = {query: row for row, query in enumerate(context.query_ids)}
        known = np.array([row_of.get(query, -1) for query in run.query_ids], dtype=np.int64)
        query = known[run.query[rows]]
        if (query < 0).any():
            name = run.query_ids[run.query[rows[np.argmax(query < 0)]]]
            raise InputError(
                f"{where}: query {name!r} of run {run.name!r} has no text: a cross-encoder reads "
                "the texts of queries and documents, so give them with their ids"
            )
        document = _rows_in(run.document_ids, run.document[rows], context.document_ids)
        if (document < 0).any():
            name = run.document_ids[run.document[rows[np.argmax(document < 0)]]]
            raise InputError(
                f"{where}: document {name!r} of run {run.name!r} has no text: is it of another "
                "corpus?"
            )
        return cls(context, query, document)

    def pairs(self, part: slice) -> list[tuple[str, str]]:
        """Read the texts of some pairs, each text once, in the order of the corpus."""
        documents, place = np.unique(self.document[part], return_inverse=True)
        texts = [self.context.documents[row] for row in documents.tolist()]
        queries = self.context.queries
        return [
            (queries[query], texts[document])
            for query, document in zip(self.query[part].tolist(), place.tolist(), strict=True)
        ]


def _rows_in(ids: Ids, rows: NDArray[np.signedinteger], corpus: Sequence[str]) -> NDArray[np.int64]:
    """Row of the corpus of each document, -1 where there is none."""
    if ids is corpus:
        return rows.astype(np.int64)
    names = ids.column.gather(rows).to_frame("name")
    known = Ids.of(corpus, "document id").column.to_frame("name").with_row_index("row")
    used = known.join(names.unique(), on="name", how="semi").unique("name", keep="first")
    found = names.join(used, on="name", how="left", maintain_order="left")
    return found["row"].cast(pl.Int64).fill_null(-1).to_numpy()
