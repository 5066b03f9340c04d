"""Everything that is needed to do the sweep again."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_eval.errors import DISTRIBUTION, InputError
from retrieval_eval.objects import without_password
from retrieval_eval.report.page.document import Section
from retrieval_eval.report.plan import shown_bytes, shown_seconds

if TYPE_CHECKING:
    import polars as pl

    from retrieval_eval.sweep import Results

__all__ = ["repeat_section"]

_FILES = (
    *("results.parquet", "per_query.parquet", "comparisons.parquet", "health.parquet"),
    "manifest.json",
)
_NAMED = 40
"""Rows with the same message that are named one by one."""

_SECRET = re.compile(
    r"(^|[_-])(api[_-]?key|access[_-]?key|secret|password|passwd|credentials?|token)s?$", re.I
)
_PASSWORD = re.compile(r"\bpass(word|wd)?\s*=", re.I)  # of a connection string
_HIDDEN = "hidden-{}-by-retrieval-eval"
_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.!+_-]*")


def repeat_section(results: Results) -> Section:
    """Return the section that tells how to repeat the sweep.

    It shows what ``manifest.json`` holds, and nothing of the environment: values of keys that are
    called like secrets, and passwords in URLs, are shown as variables to be set.

    Parameters
    ----------
    results : Results
        A finished sweep.
    """
    manifest, rows = results.manifest, results.rows
    folder = Path("results") / results.folder.resolve().name
    replays = _replays(rows, folder)
    sweep, hidden = _configuration(manifest["sweep"])
    asked, hidden_too = _configuration(manifest["asked"]) if "asked" in manifest else ("", [])
    return Section(
        "repeat",
        "Repeat it",
        {
            "sweep": sweep,
            "asked": asked,
            "hidden": list(dict.fromkeys([*hidden, *hidden_too])),
            "file": f"{manifest['name']}.yaml",
            "trials": sum(len(one["trials"]) for one in manifest.get("tuning", ())),
            "constraints": _constraints(manifest),
            "commands": _commands(manifest, folder, replays),
            "facts": list(_facts(manifest)),
            "jobs": list(_jobs(manifest.get("jobs", {}))),
            "checksums": list(_checksums(manifest, results.folder)),
            "notes": list(manifest.get("notes", ())),
            "counts": manifest.get("rows", {}),
            "problems": list(_problems(rows)),
        },
        {"replays": replays},
    )


# -- configuration ----------------------------------------------------------------------------


def _configuration(values: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return a sweep file that says the same, and the variables that it needs to be set."""
    # A sweep ends in a page, so that each would have to be there before the other.
    from retrieval_eval.sweep import Sweep

    hidden: list[str] = []
    shown = _without_secrets(values, "", hidden)
    try:
        text = Sweep(**shown).to_yaml()
    except InputError as error:
        import yaml

        lines = str(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True))
        text = f"# This version cannot read it: {' '.join(str(error).split())}\n{lines}"
    for name in hidden:
        text = text.replace(_HIDDEN.format(name), f"${{{name}}}")
    return text, hidden


def _without_secrets(value: Any, key: str, hidden: list[str]) -> Any:
    """Return a configuration with names of variables where something secret may stand."""
    if isinstance(value, Mapping):
        return {name: _without_secrets(one, str(name), hidden) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_secrets(one, key, hidden) for one in value]
    if not isinstance(value, str) or not value:
        return value
    if _SECRET.search(key) or _PASSWORD.search(value) or without_password(value) != value:
        return _HIDDEN.format(_variable(key, hidden))
    return value


def _variable(key: str, hidden: list[str]) -> str:
    base = re.sub(r"\W", "_", key.upper(), flags=re.ASCII).lstrip("0123456789") or "SECRET"
    name, number = base, 1
    while name in hidden:
        number += 1
        name = f"{base}_{number}"
    hidden.append(name)
    return name


# -- versions, commands -----------------------------------------------------------------------


def _constraints(manifest: Mapping[str, Any]) -> str:
    """Return what pip takes, as constraints or as requirements."""
    versions = dict(manifest.get("versions", {}))
    lines = [f"# Python {versions.pop('python')}"] if "python" in versions else []
    own = manifest.get("retrieval_eval")
    lines += [f"{DISTRIBUTION}=={own}"] if own else []
    for name, version in versions.items():
        plain = _DISTRIBUTION.fullmatch(name) and _VERSION.fullmatch(str(version))
        lines.append(f"{name}=={version}" if plain else f"# {name} {version}")
    return "\n".join(lines) + "\n"


def _commands(
    manifest: Mapping[str, Any], folder: Path, replays: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return what is said of each command, and the command."""
    name = str(manifest["name"])
    out = "" if folder.name == name else f" --out {shlex.quote(str(folder))}"
    made = [
        ("Install the same versions", "pip install -r constraints.txt"),
        ("Run the sweep", f"retrieval-eval run {shlex.quote(f'{name}.yaml')}{out}"),
    ]
    if replays:
        made.append(("Do one row again, and compare every figure", replays[0][1]))
    return made


def _replays(rows: pl.DataFrame, folder: Path) -> list[tuple[str, str]]:
    """Return the rows that were run, as ``replay`` knows them, and the command for each."""
    several = rows["dataset"].n_unique() > 1
    names = []
    for row in rows.iter_rows(named=True):
        shown = f"{row['encoder']} | {row['configuration']}"
        shown += f", {row['filter']}" if row["filter"] else ""
        names.append(f"{row['dataset']}, {shown}" if several else shown)
    counts = Counter(names)
    where = shlex.quote(str(folder))
    found = []
    for name, row_id, status in zip(names, rows["row_id"], rows["status"], strict=True):
        if status == "ok":
            # Two rows may be called the same, and a name may look like an option.
            given = name if counts[name] == 1 and not name.startswith("-") else row_id
            found.append((name, f"retrieval-eval replay {where} {shlex.quote(given)}"))
    return found


# -- facts ------------------------------------------------------------------------------------


def _facts(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what figures depend on beside the configuration."""
    for name in ("started", "created"):
        if name in manifest:
            yield name, str(manifest[name])
    if "seconds" in manifest:
        yield "took", shown_seconds(manifest["seconds"])
    sweep = manifest["sweep"]
    yield "seed", str(sweep.get("seed", 0))
    yield "builds of each index whose builds differ", str(sweep.get("build_seeds", 1))
    hardware = {**manifest.get("machine", {}), **manifest.get("hardware", {})}
    for name, value in hardware.items():
        if name == "memory_bytes" and value:
            yield "memory", shown_bytes(value)
        elif name == "load_average" and value:
            yield "load average at the end", ", ".join(f"{one:.2f}" for one in value)
        elif value is not None:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield name.replace("_", " "), shown
    timing = sweep.get("timing")
    yield "timing", _settings(timing) if timing else "none: no time was measured"
    yield "comparisons", _settings(sweep.get("compare", {}))
    for name, family in manifest.get("families", {}).items():
        yield f"family of {name}", str(family)


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {json.dumps(value) if isinstance(value, Mapping) else value}"
        for name, value in values.items()
        if value is not None and value != {}
    )


def _jobs(jobs: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[str, list[int]]]:
    for kind, counts in jobs.items():
        yield kind, [counts.get(one, 0) for one in ("jobs", "done", "cached", "failed", "skipped")]


def _checksums(manifest: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, str]]:
    """Yield what tells whether data, configuration and tables are the same."""
    yield "sweep_key, of all that decides the results", str(manifest.get("sweep_key", ""))
    for name, facts in manifest.get("datasets", {}).items():
        for key, word in (
            *(("corpus", "documents"), ("queries_checksum", "queries"), ("qrels", "judgments")),
        ):
            if key in facts:
                yield f"{name}, {word}", str(facts[key])
    for name in _FILES:
        path = folder / name
        if path.is_file():
            with path.open("rb") as file:
                yield f"{name}, sha256", hashlib.file_digest(file, "sha256").hexdigest()


def _problems(rows: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield each message of rows that were not run, or say what could not be measured."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows.iter_rows(named=True):
        if row["status"] != "ok" or row["message"]:
            where = (
                row["dataset"] if row["filter"] is None else f"{row['dataset']}, {row['filter']}"
            )
            name = f"{where}, {row['encoder']} | {row['configuration']}"
            found.setdefault((row["status"], row["message"] or ""), []).append(name)
    order = {"failed": 0, "skipped": 1}
    for (status, message), names in sorted(found.items(), key=lambda one: order.get(one[0][0], 2)):
        yield {
            "status": status,
            "message": message,
            "count": len(names),
            "names": names[:_NAMED],
            "more": max(0, len(names) - _NAMED),
        }
