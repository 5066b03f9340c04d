"""What scripts of experiments share: a command line, a sweep file, tables and figures.

A script in ``experiments/NAME/run.py`` opens an :class:`Experiment`, does its work with the Python
API, and hands over tables and figures. These are printed, written to a folder, and, with
``--readme``, into the README beside the script, which so shows what was printed and nothing else.
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_eval.errors import InputError, RetrievalEvalError

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from retrieval_eval.datasets import Dataset
    from retrieval_eval.encoders import Encoder
    from retrieval_eval.hits import Hits
    from retrieval_eval.neighbours import Metric
    from retrieval_eval.pipeline import Embeddings
    from retrieval_eval.store import Store
    from retrieval_eval.sweep import Results, Sweep

__all__ = ["Experiment"]

_MARKED = "<!-- {kind}: {name} -->\n{content}\n<!-- end -->"


class Experiment:
    """One run of a script of an experiment.

    Parameters
    ----------
    script : str
        Its ``__file__``. The name of its folder is that of the experiment; ``sweep.yaml`` and
        ``README.md`` lie beside it.
    datasets : sequence of str
        What is run on unless ``--dataset`` says otherwise: names of cards, or paths.
    encoders : sequence of str or mapping
        Likewise for ``--encoder``, each as a sweep file has it.
    argv : sequence of str, optional
        Words of the command line; by default those of this process.

    Attributes
    ----------
    datasets, encoders : list
        What to run on.
    small : bool
        Whether ``--small`` asks for a version that takes seconds, to see that everything works.
        Its figures say little.
    seed : int
        Of everything that is random.
    out : Path
        Folder for tables, figures and results.
    store : Store
        Where embeddings, indexes and results of jobs are kept.

    Examples
    --------
    >>> with Experiment("experiments/index-cost/run.py", argv=["--small"]) as lab:
    ...     lab.name, lab.small, lab.datasets
    ('index-cost', True, ['stdlib'])
    """

    def __init__(
        self,
        script: str,
        *,
        datasets: Sequence[str] = ("stdlib",),
        encoders: Sequence[str | Mapping[str, Any]] = ("lsa", "wordllama"),
        argv: Sequence[str] | None = None,
    ) -> None:
        self.folder = Path(script).resolve().parent
        self.name = self.folder.name
        parser = argparse.ArgumentParser(prog=f"experiments/{self.name}/run.py")
        add = parser.add_argument
        add("--dataset", action="append", help=f"name or path; repeat {list(datasets)}")
        add("--encoder", action="append", help=f"as in a sweep file, in YAML; repeat {encoders}")
        add("--out", type=Path, help=f"folder for tables and figures [results/{self.name}]")
        add("--cache", help="place of the cache [$RETRIEVAL_EVAL_CACHE, or the user's]")
        add("--seed", type=int, default=13, help="of everything random [13]")
        add("--small", action="store_true", help="a version that takes seconds, to try")
        add("--readme", action="store_true", help="write tables and figures into the README, too")
        given = parser.parse_args(None if argv is None else list(argv))
        if given.readme and given.small:
            parser.error("--readme: figures of --small say too little to stand in a README")
        self.datasets: list[str] = given.dataset or list(datasets)
        self.encoders: list[Any] = _encoders(given.encoder) or list(encoders)
        self.seed: int = given.seed
        self.small: bool = given.small
        self.out: Path = given.out or Path("results") / self.name
        self._cache: str | None = given.cache
        self._store: Store | None = None
        self._readme: bool = given.readme
        self._parts: list[tuple[str, str, str]] = []
        self._started = time.monotonic()

    @property
    def store(self) -> Store:
        """The cache."""
        from retrieval_eval.remote import open_store

        if self._store is None:
            self._store = open_store(self._cache)
        return self._store

    def sweep(self, **changes: Any) -> Sweep:
        """Return the sweep of ``sweep.yaml``, on the data sets and with the encoders asked for.

        Parameters
        ----------
        **changes
            Keys of the sweep with other values.
        """
        from retrieval_eval.sweep import Sweep

        sweep = Sweep.from_yaml(self.folder / "sweep.yaml")
        content = sweep.model_dump(exclude_unset=True)
        content |= {"datasets": self.datasets, "encoders": self.encoders, "seed": self.seed}
        return Sweep(**{**content, **changes})

    def run(self, sweep: Sweep | None = None, **changes: Any) -> Results:
        """Run a sweep, by default that of ``sweep.yaml``; its results lie below `out`."""
        sweep = sweep or self.sweep(**changes)
        return sweep.run(
            out=self.out / sweep.name, store=self.store, skip_unavailable=True, say=self.say
        )

    def dataset(self, name: str | None = None) -> Dataset:
        """Load a data set; the first by default."""
        from retrieval_eval.datasets import load_dataset

        return load_dataset(name or self.datasets[0])

    def embed(self, data: Dataset, encoder: str | Mapping[str, Any] | None = None) -> Embeddings:
        """Return the embeddings of a data set, from the cache if they are there.

        Parameters
        ----------
        data : Dataset
            Its documents and queries are encoded.
        encoder : str or mapping, optional
            As a sweep file has it; the first by default.
        """
        from retrieval_eval.pipeline import embed

        return embed(self.store, data, self.encoder(encoder))

    def encoder(self, given: str | Mapping[str, Any] | None = None) -> Encoder:
        """Return an encoder by name and parameters; the first by default."""
        from retrieval_eval.encoders import get_encoder

        given = given or self.encoders[0]
        if isinstance(given, str):
            return get_encoder(given)
        ((name, parameters),) = given.items()
        return get_encoder(name, **{k: v for k, v in parameters.items() if k != "label"})

    def scorer(
        self,
        data: Dataset,
        documents: NDArray[np.float32],
        queries: NDArray[np.float32],
        *,
        query_ids: Sequence[str] | None = None,
        measure: str = "nDCG@10",
        k: int = 10,
        metric: Metric = "cosine",
    ) -> Callable[[Hits], dict[str, NDArray[np.float64]]]:
        """Return what scores hits query by query: by judgments, and against exact search.

        Parameters
        ----------
        data : Dataset
            Whose judgments count.
        documents, queries : ndarray of float32, shape (n, d) and (q, d)
            The vectors that are searched and asked.
        query_ids : sequence of str, optional
            Ids of the queries that are asked; by default all of the data set. If it is empty, the
            queries are not judged, and recall is all there is.
        measure : str
            A measure; its depth is at most k.
        k : int
            Neighbours, and hits of each query.
        metric : {'cosine', 'ip', 'l2'}
            What nearest means.

        Returns
        -------
        callable
            Takes hits; returns scores by ``measure`` and by ``neighbour recall@k``, in the order of
            the queries. Recall is NaN for a query of zeros under 'cosine', which has no neighbours.
        """
        import numpy as np

        from retrieval_eval.evaluation import Evaluator
        from retrieval_eval.neighbours import exact_neighbours, kth_scores, neighbour_recall
        from retrieval_eval.runs import Run

        ids = data.query_ids if query_ids is None else tuple(query_ids)
        best = kth_scores(exact_neighbours(documents, queries, k, metric)[1], k)
        qrels = data.qrels if query_ids is None or not ids else data.qrels.only_queries(ids)
        place = {query: number for number, query in enumerate(qrels.query_ids)}
        order = np.array([place[query] for query in ids], dtype=np.intp)

        def scored(hits: Hits) -> dict[str, NDArray[np.float64]]:
            recall = neighbour_recall(hits, best, documents, queries, k, metric)
            found = {f"neighbour recall@{k}": recall}
            if ids:
                run = Run.from_hits(hits, ids, data.document_ids)
                found[measure] = Evaluator(qrels, [measure]).evaluate(run).per_query(measure)[order]
            return found

        return scored

    @staticmethod
    def name_of(encoder: str | Mapping[str, Any]) -> str:
        """Return what tables call an encoder: its label, or its name and parameters.

        Parameters
        ----------
        encoder : str or mapping
            As a sweep file has it.

        Examples
        --------
        >>> Experiment.name_of({"lsa": {"dim": 64}})
        'lsa dim=64'
        """
        if isinstance(encoder, str):
            return encoder
        ((name, parameters),) = encoder.items()
        words = (f"{key}={value}" for key, value in parameters.items())
        return str(parameters.get("label") or " ".join([name, *words]))

    def say(self, text: str) -> None:
        """Print a line to stderr."""
        sys.stderr.write(f"{text}\n")

    def table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]], note: str = ""
    ) -> None:
        """Print a table as Markdown, and keep it for the README.

        Parameters
        ----------
        name : str
            Of the table; the README has a place for it between ``<!-- table: NAME -->`` and
            ``<!-- end -->``.
        columns : sequence of str
            Heads.
        rows : sequence of sequence
            Cells. Text stands as it is; floats with four digits; None is empty.
        note : str
            A line below it: on what data, with which test.
        """
        text = _table(columns, rows) + (f"\n\n{note}" if note else "")
        sys.stdout.write(f"\n## {name}\n\n{text}\n")
        self._parts.append(("table", name, text))

    def figure(self, name: str, spec: Mapping[str, Any]) -> None:
        """Write a figure as SVG, and keep it for the README.

        Parameters
        ----------
        name : str
            Of the file, without suffix.
        spec : mapping
            A Vega-Lite specification, as of :mod:`retrieval_eval.report.figures`.
        """
        from retrieval_eval.report.figures import save

        self.out.mkdir(parents=True, exist_ok=True)
        path = save(spec, self.out / f"{name}.svg")
        self.say(f"written: {path}")
        title = " ".join(spec.get("title", {}).get("text", [])) or name
        if self._readme:
            save(spec, self.folder / f"{name}.svg")
        self._parts.append(("figure", name, f"![{title}]({name}.svg)"))

    def __enter__(self) -> Experiment:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None and self._parts:
                self._write()
        except RetrievalEvalError as defect:
            error = defect
        if isinstance(error, RetrievalEvalError):
            self.say(f"error: {error}")
            raise SystemExit(2) from None

    def _write(self) -> None:
        """Write tables beside the results, and into the README if that was asked for."""
        seconds = time.monotonic() - self._started
        self.out.mkdir(parents=True, exist_ok=True)
        done = (
            f"Printed by `python experiments/{self.name}/run.py` on "
            f"{datetime.now(UTC):%Y-%m-%d}, in {seconds:.0f} s: data {', '.join(self.datasets)}, "
            f"seed {self.seed}, Python {platform.python_version()}."
        )
        parts = [*self._parts, ("table", "made", done)]
        shown = (_MARKED.format(kind=k, name=n, content=text) for k, n, text in parts)
        (self.out / "tables.md").write_text("\n\n".join(shown) + "\n", encoding="utf-8")
        if self._readme:
            self._write_readme(parts)

    def _write_readme(self, parts: Sequence[tuple[str, str, str]]) -> None:
        path = self.folder / "README.md"
        content = path.read_text(encoding="utf-8")
        for kind, name, text in parts:
            marked = _MARKED.format(kind=kind, name=name, content=text)
            place = re.compile(rf"<!-- {kind}: {re.escape(name)} -->.*?<!-- end -->", re.DOTALL)
            if not place.search(content):
                raise InputError(f"{path}: has no place <!-- {kind}: {name} --> ... <!-- end -->")
            before, after = place.split(content, maxsplit=1)
            content = f"{before}{marked}{after}"
        path.write_text(content, encoding="utf-8")


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    from retrieval_eval.report.forms import markdown_table

    numbers = [
        any(isinstance(row[place], int | float) for row in rows) for place in range(len(columns))
    ]
    cells = [[_cell(one) for one in row] for row in rows]
    return markdown_table((list(zip(columns, numbers, strict=True)), cells))


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _encoders(given: Sequence[str] | None) -> list[Any]:
    import yaml

    return [yaml.safe_load(one) for one in given or ()]
