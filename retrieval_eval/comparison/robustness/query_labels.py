"""Labels of queries: by length, by a column of a file, by nearness to training queries."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.nearness import near_and_far, quantile_bins
from retrieval_eval.textfiles import bad_line, read_jsonl, read_lines, unpacked_name

__all__ = ["near_far_labels", "read_query_column", "read_query_texts", "slice_labels_by_length"]

_IDS = ("_id", "id", "query_id", "query-id", "qid", "q_id")
_TEXTS = ("text", "query", "title")
_TABLES = {".csv": ",", ".tsv": "\t"}


def slice_labels_by_length(texts: Mapping[str, str], bins: int = 3) -> dict[str, str]:
    """Label queries by their number of words, in bins of about as many queries each.

    Parameters
    ----------
    texts : mapping of str to str
        Text of each query. Words are what stands between white space.
    bins : int
        How many bins, at least 1. Queries of equal length are always in one bin: that in which the
        middle one of them falls. So there may be fewer bins, of other sizes.

    Returns
    -------
    dict of str to str
        A label such as ``"1-7 words"``, the lengths that occur in the bin, for each query; from the
        shortest query to the longest.

    Raises
    ------
    InputError
        If there is no query, or bins is below 1.

    Examples
    --------
    >>> slice_labels_by_length({"q1": "a b c", "q2": "a", "q3": "a b", "q4": "a b c d"}, bins=2)
    {'q2': '1-2 words', 'q3': '1-2 words', 'q1': '3-4 words', 'q4': '3-4 words'}
    """
    if not texts:
        raise InputError("there is no query to label")
    ids = list(texts)
    lengths = np.array([len(text.split()) for text in texts.values()], dtype=np.int64)
    codes = quantile_bins(lengths, bins)
    labels = []
    for code in range(int(codes.max()) + 1):
        low, high = int(lengths[codes == code].min()), int(lengths[codes == code].max())
        shown = f"{low}" if low == high else f"{low}-{high}"
        labels.append(f"{shown} word{'' if low == high == 1 else 's'}")
    return {ids[row]: labels[codes[row]] for row in np.argsort(lengths, kind="stable").tolist()}


def near_far_labels(
    test_ids: Sequence[str],
    test_vectors: NDArray[np.floating],
    train_vectors: NDArray[np.floating],
    bins: int = 2,
) -> dict[str, str]:
    """Label queries by how near they are to the queries that an encoder was trained on.

    What an encoder gains on queries near to its training queries it may lose on those far from
    them: the mean over both hides it.

    Parameters
    ----------
    test_ids : sequence of str, length t
        Ids of the queries to label, all different.
    test_vectors : ndarray of float, shape (t, d)
        Their embeddings.
    train_vectors : ndarray of float, shape (n, d)
        Embeddings of the training queries by the same encoder; may be memory-mapped. They are read
        in blocks of 64 MiB.
    bins : int
        How many strata of about as many queries each, at least 1. Queries with equal cosines, in 6
        decimals, are always in one stratum, so there may be fewer, of other sizes.

    Returns
    -------
    dict of str to str
        A label such as ``"far (cosine <= 0.62)"`` for each query, from the farthest to the nearest.
        The cosine is the largest with any training query, rounded to 6 decimals; that with a vector
        of zeros is 0.

    Raises
    ------
    InputError
        If shapes do not fit, an id stands twice, a vector is not finite, there is no query on one
        of the sides, or bins is below 1.

    References
    ----------
    Zhan et al. 2022, Evaluating interpolation and extrapolation performance of neural retrieval
    models.

    Examples
    --------
    >>> train = np.array([[1.0, 0.0]])
    >>> near_far_labels(["q1", "q2"], np.array([[2.0, 0.0], [3.0, 4.0]]), train)
    {'q2': 'far (cosine <= 0.60)', 'q1': 'near (cosine > 0.60)'}
    """
    found = near_and_far(test_ids, test_vectors, train_vectors, bins=bins)
    labels = found.labels
    order = np.argsort(np.rint(found.similarity * 1e6), kind="stable")
    return {found.query_ids[row]: labels[found.query_ids[row]] for row in order.tolist()}


def read_query_column(path: str | Path, column: str) -> dict[str, str]:
    r"""Read a label for each query from a file of queries.

    Parameters
    ----------
    path : str or Path
        ``.jsonl`` such as BEIR's queries.jsonl, or ``.csv`` or ``.tsv`` whose first line names the
        columns; each may be packed as ``.gz`` or ``.zst``. Ids stand under ``_id``, ``id`` or
        ``query_id``. In ``.tsv``, quotes are part of the text.
    column : str
        The key or column of the labels: text, a number, or true or false.

    Returns
    -------
    dict of str to str
        In the order of the file. A query whose label is empty, null or not there has none.

    Raises
    ------
    InputError
        Naming file, line and column: if the file cannot be read, an id is missing, no string or
        comes twice, no record has the column, or a label is a list or an object.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "queries.tsv")
    ...     _ = path.write_text("query_id\ttext\tkind\nq1\tone two\thow\nq2\tthree\t\n")
    ...     read_query_column(path, "kind")
    {'q1': 'how'}
    """
    path = Path(path)
    labels: dict[str, str] = {}
    seen: dict[str, None] = {}
    for number, query_id, record in _records(path):
        seen |= dict.fromkeys(record)
        value = record.get(column)
        if isinstance(value, (dict, list)):
            kind = "list" if isinstance(value, list) else "object"
            rule = f"{column!r} holds a JSON {kind}; a label is text, a number, true or false"
            bad_line(path, number, json.dumps(record), rule)
        text = value if isinstance(value, str) else json.dumps(value)
        if value is not None and text.strip():
            labels[query_id] = text
    if column not in seen:
        raise unknown_name("column", column, seen, str(path))
    return labels


def read_query_texts(path: str | Path) -> dict[str, str]:
    r"""Read the text of each query from a file of queries.

    Parameters
    ----------
    path : str or Path
        As for :func:`read_query_column`; the text stands under ``text``, ``query`` or ``title``,
        the first of them that is there.

    Returns
    -------
    dict of str to str
        In the order of the file.

    Raises
    ------
    InputError
        Naming file and line: as :func:`read_query_column`, or if a query has no text.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "queries.jsonl")
    ...     _ = path.write_text('{"_id": "q1", "text": "one two"}\n')
    ...     read_query_texts(path)
    {'q1': 'one two'}
    """
    path = Path(path)
    texts: dict[str, str] = {}
    for number, query_id, record in _records(path):
        name = next((name for name in _TEXTS if name in record), None)
        if name is None or not isinstance(record[name], str):
            rule = f"no text of the query: it must be a string under {' or '.join(_TEXTS)}"
            bad_line(path, number, json.dumps(record), rule)
        texts[query_id] = record[name]
    return texts


def _records(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield (line number, query id, all else that is known of it); each id once."""
    suffix = Path(unpacked_name(path)).suffix.lower()
    if suffix == ".jsonl":
        rows = read_jsonl(path, ())
    elif suffix in _TABLES:
        rows = _table(path, _TABLES[suffix])
    else:
        raise InputError(
            f"{path}: a file of queries is .jsonl, .csv or .tsv, or one of them packed as .gz or "
            ".zst"
        )
    lines: dict[str, int] = {}
    for number, record in rows:
        name = next((name for name in _IDS if name in record), None)
        query_id = None if name is None else record[name]
        if not isinstance(query_id, str) or not query_id:
            rule = f"no id of the query: it must be a string under {' or '.join(_IDS)}"
            bad_line(path, number, json.dumps(record), rule)
        if query_id in lines:
            rule = f"query {query_id!r} stood in line {lines[query_id]} already"
            bad_line(path, number, json.dumps(record), rule)
        lines[query_id] = number
        yield number, query_id, {key: record[key] for key in record if key != name}
    if not lines:
        raise InputError(f"{path}: there is no query")


def _table(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, record) of a table whose first line names its columns."""
    lines = (line for _, line in read_lines(path, keep_ends=True))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    if delimiter == "\t":
        reader = csv.reader(lines, delimiter=delimiter, strict=True, quoting=csv.QUOTE_NONE)
    try:
        header = next((row for row in reader if row), [])
        if header and not set(_IDS) & set(header):
            rule = f"the first line must name the columns, that of the ids {' or '.join(_IDS)}"
            bad_line(path, max(1, reader.line_num), delimiter.join(header), rule)
        if len(set(header)) != len(header):
            again = next(one for place, one in enumerate(header) if one in header[:place])
            bad_line(path, reader.line_num, delimiter.join(header), f"two columns named {again!r}")
        for row in reader:
            if len(row) not in (0, len(header)):
                rule = f"expected {len(header)} columns as in the header, found {len(row)}"
                bad_line(path, reader.line_num, delimiter.join(row), rule)
            if row:
                yield reader.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: cannot be read as a table: {error}") from None
