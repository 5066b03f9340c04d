"""The contract of a combiner: runs in, one run out, under an identity of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from retrieval_eval.errors import InputError
from retrieval_eval.parameters import NoParameters, make_parameters
from retrieval_eval.plugins import require
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

__all__ = ["CombineContext", "Combined", "Combiner"]


@dataclass(frozen=True, eq=False)
class CombineContext:
    """What a combiner may need beside the runs; each says what it uses.

    Parameters
    ----------
    query_ids : sequence of str
        Ids of the queries.
    queries : sequence of str, of the same length
        Their texts.
    document_ids : sequence of str
        Ids of the corpus; an :class:`~retrieval_eval.ids.Ids` is never copied.
    documents : sequence of str, of the same length
        Their texts. Only rows of documents that the runs returned are read, so they may lie on
        disk.
    qrels : Qrels or None
        The judgments, for what is tuned.
    k : int, at least 1
        Documents of each query in the result.
    seed : int, at least 0
        Of whatever is drawn.
    name : str
        Of the resulting run.

    Raises
    ------
    InputError
        If ids and texts differ in number, or k or the seed is out of range.
    """

    query_ids: Sequence[str] = ()
    queries: Sequence[str] = ()
    document_ids: Sequence[str] = ()
    documents: Sequence[str] = ()
    qrels: Qrels | None = None
    k: int = 1000
    seed: int = 0
    name: str = "combined"

    def __post_init__(self) -> None:
        for what, ids, texts in (
            ("queries", self.query_ids, self.queries),
            ("documents", self.document_ids, self.documents),
        ):
            if len(ids) != len(texts):
                raise InputError(f"{len(texts)} texts for {len(ids)} ids of {what}")
        if self.k < 1:
            raise InputError(f"k is {self.k}: it must be at least 1")
        if self.seed < 0:
            raise InputError(f"the seed is {self.seed}: it must be at least 0")


@dataclass(frozen=True, eq=False)
class Combined:
    """What a combiner returns.

    Parameters
    ----------
    run : Run
        The combined run.
    facts : dict
        What was chosen or measured on the way, as plain JSON values: tuned weights, for instance.
    """

    run: Run
    facts: dict[str, Any] = field(default_factory=dict)


class Combiner(ABC):
    """Makes one run of one or several.

    A subclass sets the class attributes, and implements :meth:`combine`. Constructing one loads
    nothing heavy.

    Parameters
    ----------
    **parameters
        Fields of the class's ``Parameters``; checked strictly.

    Attributes
    ----------
    name : str
        What the combiner is called in a sweep file.
    Parameters : type
        Frozen dataclass of its parameters.
    requires : mapping of str to str
        Import name of each optional library, and the extra that installs it.
    distributions : tuple of str
        Distributions whose versions can change the run; part of a cache key.
    inputs : tuple of (int, int or None)
        How many runs it takes, from and to; None for any number.
    uses_texts : bool
        Whether it reads the texts of queries and documents.
    uses_judgments : bool
        Whether the run depends on the judgments, which are then part of a cache key, and on the
        seed. May depend on parameters.
    """

    name: ClassVar[str]
    Parameters: ClassVar[type[Any]] = NoParameters
    requires: ClassVar[Mapping[str, str]] = {}
    distributions: ClassVar[tuple[str, ...]] = ()
    inputs: ClassVar[tuple[int, int | None]] = (2, None)
    uses_texts: ClassVar[bool] = False
    uses_judgments: bool = False

    def __init__(self, **parameters: Any) -> None:
        self.parameters: Any = make_parameters(self.Parameters, parameters, self._where)

    @property
    def _where(self) -> str:
        return f"combiner {self.name!r}"

    def identity(self) -> dict[str, Any]:
        """Return, as plain JSON values, all that decides the run beside runs and context."""
        return {"combiner": self.name, **asdict(self.parameters)}

    def require(self) -> None:
        """Raise :class:`MissingExtraError` if a library it needs is not installed."""
        require(self._where, self.requires)

    def check(self, n_inputs: int, names: Sequence[str] | None = None) -> None:
        """Raise :class:`InputError` if this combiner cannot take so many runs, of such names."""
        fewest, most = self.inputs
        if n_inputs < fewest or (most is not None and n_inputs > most):
            wanted = str(fewest) if most == fewest else f"{fewest} or more"
            if most is not None and most > fewest:
                wanted = f"{fewest} to {most}"
            runs = "run" if wanted == "1" else "runs"
            raise InputError(f"{self._where} takes {wanted} {runs}, got {n_inputs}")

    def check_queries(self, n_queries: int) -> None:
        """Raise :class:`InputError` if this combiner cannot work with so many judged queries."""

    @abstractmethod
    def combine(self, runs: Sequence[Run], context: CombineContext) -> Combined:
        """Combine runs; neither they nor anything else is changed.

        Parameters
        ----------
        runs : sequence of Run
            As many as :meth:`check` accepts.
        context : CombineContext
            What else there is.

        Returns
        -------
        Combined
            The run, with at most ``context.k`` documents of each query, and facts about it.
        """
