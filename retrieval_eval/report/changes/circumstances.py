"""What differs around the rows of two sweeps: versions, machines, data, settings, dates."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from retrieval_eval.report.changes.rows import Circumstance

__all__ = ["causes_of", "circumstances_of", "machine_of"]

Manifest = Mapping[str, Any]

_UNKNOWN = "-"
_CHECKSUMS = {
    "corpus": "documents (checksum)",
    "queries_checksum": "queries (checksum)",
    "qrels": "judgments (checksum)",
}
_DIGITS = 12  # of a checksum: enough to tell two apart
_LISTS = ("datasets", "encoders", "indexes", "combine", "filters", "measures")


def circumstances_of(old: Manifest, new: Manifest) -> Iterator[Circumstance]:
    """Yield what differs between two manifests, but for what the rows themselves tell.

    A setting or a fact of a dataset that only one of them records is left out: another version of
    this package wrote the other one, and nothing is known of it.

    Parameters
    ----------
    old, new : mapping
        As in ``manifest.json``; may lack anything.
    """
    ours = (
        {"retrieval_eval": old.get("retrieval_eval")},
        {"retrieval_eval": new.get("retrieval_eval")},
    )
    versions = old.get("versions") or {}, new.get("versions") or {}
    for before, after in (ours, versions):
        for name in _names(before, after):
            if before.get(name) != after.get(name):
                yield Circumstance("version", name, _text(before, name), _text(after, name))
    before, after = _hardware(old), _hardware(new)
    for name in _names(before, after):
        if before.get(name) != after.get(name):
            yield Circumstance("machine", name, _text(before, name), _text(after, name))
    yield from _data(old.get("datasets") or {}, new.get("datasets") or {})
    yield from _settings(old.get("sweep") or {}, new.get("sweep") or {})
    dates = [str(one.get("created") or _UNKNOWN).replace("T", " ") for one in (old, new)]
    if dates[0] != dates[1]:
        yield Circumstance("date", "created", *(one.replace("+00:00", " UTC") for one in dates))


def machine_of(manifest: Manifest) -> dict[str, Any]:
    """Return what timings depend on: processor, cores, threads; empty if it is not recorded."""
    found = manifest.get("machine") or manifest.get("hardware") or {}
    facts = {name: found[name] for name in ("processor", "cores") if name in found}
    timing = (manifest.get("sweep") or {}).get("timing")
    return {**facts, "threads": timing["threads"]} if facts and timing else facts


def causes_of(old: Manifest, new: Manifest, dataset: str, encoder: str) -> tuple[str, ...]:
    """Return what is known to differ of all that decides a row.

    Parameters
    ----------
    old, new : mapping
        As in ``manifest.json``.
    dataset, encoder : str
        Of the row.
    """
    found: list[str] = []
    facts = [(one.get("datasets") or {}).get(dataset, {}) for one in (old, new)]
    found += [
        words.removesuffix(" (checksum)")
        for name, words in _CHECKSUMS.items()
        if all(name in one for one in facts) and facts[0][name] != facts[1][name]
    ]
    sweeps = [one.get("sweep") or {} for one in (old, new)]
    for name in ("metric", "embeddings", "seed"):
        if all(name in one for one in sweeps) and sweeps[0][name] != sweeps[1][name]:
            found.append(f"{name} {sweeps[0][name]} -> {sweeps[1][name]}")
    entries = [_labelled(one.get("encoders") or (), encoder) for one in sweeps]
    if all(entries) and entries[0] != entries[1]:
        found.append(f"encoder {_shown(entries[0])} -> {_shown(entries[1])}")
    return tuple(found)


def _labelled(entries: Iterable[Any], label: str) -> Mapping[str, Any]:
    """Return the entry of a sweep that is labelled so; empty if none is."""
    for entry in entries:
        if isinstance(entry, Mapping) and len(entry) == 1:
            ((_, parameters),) = entry.items()
            if isinstance(parameters, Mapping) and parameters.get("label") == label:
                return entry
    return {}


def _names(*parts: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(name for part in parts for name in part))


def _hardware(manifest: Manifest) -> dict[str, Any]:
    facts = {**(manifest.get("hardware") or {}), **(manifest.get("machine") or {})}
    facts.pop("load_average", None)  # never twice the same
    if isinstance(facts.get("memory_bytes"), int):
        facts["memory"] = f"{facts.pop('memory_bytes') / 1e9:.1f} GB"
    return facts


def _data(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Circumstance]:
    for name in old:
        facts = [(one.get(name) or {}) for one in (old, new)]
        for fact in facts[0]:
            values = [one.get(fact) for one in facts]
            if fact not in facts[1] or values[0] == values[1]:
                continue
            if fact in _CHECKSUMS:
                values = [str(value)[:_DIGITS] for value in values]
            shown = (_shown(value) for value in values)
            yield Circumstance("data", f"{name}: {_CHECKSUMS.get(fact, fact)}", *shown)


def _settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Circumstance]:
    for name, before in old.items():
        if name == "name" or name not in new or before == new[name]:
            continue
        after = new[name]
        if name in _LISTS:
            yield _listed(name, before, after)
        elif isinstance(before, Mapping) and isinstance(after, Mapping):
            for key, value in before.items():
                if key in after and value != after[key]:
                    yield Circumstance(
                        "setting", f"{name}.{key}", _shown(value), _shown(after[key])
                    )
        else:
            yield Circumstance("setting", name, _shown(before), _shown(after))


def _listed(name: str, before: Sequence[Any], after: Sequence[Any]) -> Circumstance:
    """Return what is in one list alone, or that the order is another one."""
    texts = [[_shown(entry) for entry in entries] for entries in (before, after)]
    here, there = (
        "; ".join(one for one in mine if one not in other) for mine, other in (texts, texts[::-1])
    )
    if here or there:
        return Circumstance("setting", f"{name}, only there", here or _UNKNOWN, there or _UNKNOWN)
    return Circumstance("setting", f"order of {name}", *("; ".join(one) for one in texts))


def _text(facts: Mapping[str, Any], name: str) -> str:
    return _UNKNOWN if facts.get(name) is None else _shown(facts[name])


def _shown(value: Any) -> str:
    """Print a value as in a sweep file, on one line."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, inner),) = value.items()
        return f"{name}: {inner if isinstance(inner, str) else _json(inner)}"
    return _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace('"', "")
