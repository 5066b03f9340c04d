"""JSON: a mapping of mappings in one object, or one record a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from retrieval_eval.errors import InputError
from retrieval_eval.formats.columns import Columns, Kind
from retrieval_eval.formats.records import from_mapping, from_records
from retrieval_eval.textfiles import bad_line, read_lines

__all__ = ["read_json", "read_json_lines"]


class _Refused(ValueError):  # noqa: N818 (never leaves this module)
    """What JSON allows, or Python's reader of it, and a run or qrels cannot hold."""


def read_json(path: Path, kind: Kind) -> Columns:
    """Read ``{query id: {document id: value}}``, or a list of records."""
    text = "\n".join(line for _, line in read_lines(path))
    try:
        content = _parse(text)
    except json.JSONDecodeError as error:
        lines = text.split("\n")
        line = lines[error.lineno - 1] if error.lineno <= len(lines) else ""
        bad_line(path, error.lineno, line, f"not valid JSON ({error.msg})")
    except ValueError as error:  # refused here, or by Python: a number of thousands of digits
        raise InputError(f"{path}: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply for a {kind.name}") from None
    if isinstance(content, dict) and content:
        columns = from_mapping(content, kind, str(path))
        if not len(columns):
            raise InputError(f"{path}: the {kind.name} hold{_s(kind)} no document")
        return columns
    if isinstance(content, list) and content:
        return from_records(content, kind, str(path))
    raise InputError(
        f"{path}: expected an object {{query id: {{document id: {kind.value}}}}} or a list of "
        "records, with something in it"
    )


def read_json_lines(path: Path, kind: Kind) -> Columns:
    """Read one record a line: query_id, doc_id, and score or relevance."""
    records: list[Any] = []
    places: list[int] = []
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            record = _parse(line)
        except (ValueError, RecursionError) as error:
            bad_line(path, number, line, f"not valid JSON ({error})")
        if not isinstance(record, dict):
            bad_line(path, number, line, "expected a JSON object")
        records.append(record)
        places.append(number)
    return from_records(records, kind, str(path), places)


def _s(kind: Kind) -> str:
    return "s" if kind.name == "run" else ""


def _parse(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        keys = [key for key, _ in pairs]
        again = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise _Refused(f"the key {again!r} comes twice in one object")
    return content


def _constant(text: str) -> float:
    raise _Refused(f"{text} is not a finite number")
