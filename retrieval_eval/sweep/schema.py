"""A JSON Schema of sweep files, for editors: names, parameters, types, ranges, defaults."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping
from typing import Annotated, Any, get_type_hints

from retrieval_eval.catalogue import catalogue_file, catalogue_names
from retrieval_eval.combiners import COMBINERS
from retrieval_eval.datasets import DATASETS, read_card
from retrieval_eval.encoders import ENCODERS
from retrieval_eval.evaluation import MEASURES
from retrieval_eval.evaluation.measures import ALIASES
from retrieval_eval.indexes import INDEXES, index_specification
from retrieval_eval.parameters import Entry
from retrieval_eval.sweep.config import CompareSection, LimitOptions, Sweep
from retrieval_eval.sweep.tuning import TuneSection
from retrieval_eval.timing import TimingOptions

__all__ = ["parameter_texts", "sweep_schema"]

Schema = dict[str, Any]

_VARIABLE: Schema = {"type": "string", "pattern": r"\$\{"}
_OWN: Schema = {
    "type": "string",
    "pattern": "^[^/: ]+:[^/: ]+$",
    "description": "module:Class of your own",
}
_LABEL: Schema = {"type": ["string", "number"], "description": "What tables call the entry."}


def sweep_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of sweep files.

    It knows every name and parameter that is registered here, plug-ins of other distributions
    included, so it is made where it is used. It is stricter than a sweep in one thing: a folder
    with a dataset must be written with a slash (``./mine``), so that a misspelt name is seen. And
    it cannot know what is checked only when a sweep is planned, such as the length of lists in a
    ``zip``.

    Examples
    --------
    >>> found = sweep_schema()
    >>> found["$defs"]["index.hnsw"]["properties"]["M"]["default"]
    16
    """
    defs: dict[str, Schema] = {
        "range": _range(),
        "anything": {"type": "object"},
        "sources": _choice(
            {name: f"dataset.{name}" for name in DATASETS.names()}
            | {
                name: _source(name)
                for name in catalogue_names("datasets")
                if name not in DATASETS.names()
            },
            paths=True,
        ),
        "encoders": _choice({name: f"encoder.{name}" for name in ENCODERS.names()}),
        "combiners": _choice({name: f"combiner.{name}" for name in COMBINERS.names()}, bare=False),
    }
    label = {"label": _LABEL}
    for name in DATASETS.names():
        key = f"dataset.{name}"
        defs[key] = _parameters(key, DATASETS.load(name).Parameters, label)
        defs[f"{key}.card"] = _optional(defs[key])
    for name in ENCODERS.names():
        key = f"encoder.{name}"
        defs[key] = _parameters(key, ENCODERS.load(name).Parameters, label)
    texts: Schema = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    of: Schema = {"anyOf": [{"type": "string"}, texts], "description": "What is combined."}
    for name in COMBINERS.names():
        key = f"combiner.{name}"
        own = _parameters(key, COMBINERS.load(name).Parameters, {**label, "of": of})
        defs[key] = {**own, "required": ["of"]}
    backends = {name: index_specification(name)[0] for name in catalogue_names("indexes")}
    for prefix in ("index", "inner"):
        names = {name: f"{prefix}.{name}" for name in INDEXES.names()}
        for name, backend in backends.items():  # a specification gives what its backend requires
            known = backend in INDEXES.names()
            names.setdefault(name, f"{prefix}.{backend}.specified" if known else "anything")
        defs["indexes" if prefix == "index" else "inner"] = _choice(names, paths=True)
    for name in INDEXES.names():
        cls = INDEXES.load(name)
        defs[f"search.{name}"] = _parameters(f"search.{name}", cls.Search, {}, free=("index",))
        search = {"anyOf": [{"$ref": f"#/$defs/search.{name}"}, {"type": "null"}]}
        for prefix, more in (("index", {**label, "search": search}), ("inner", {})):
            key = f"{prefix}.{name}"
            defs[key] = _parameters(key, cls.Build, more)
            defs[f"{key}.specified"] = _optional(defs[key])
    used = _used({"$defs": defs}, ("sources", "encoders", "combiners", "indexes"))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A sweep of retrieval-eval",
        "type": "object",
        "properties": _top(),
        "additionalProperties": False,
        "anyOf": [
            {"required": ["include"]},
            {"required": ["name", "datasets", "encoders", "indexes"]},
        ],
        "$defs": {name: one for name, one in defs.items() if name in used},
    }


def _used(schema: Schema, roots: tuple[str, ...]) -> set[str]:
    """Return the definitions that are reached from `roots`, and that of ranges."""
    found: set[str] = set()
    left = [*roots, "range"]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += re.findall(r"'#/\$defs/([^'/]+)", repr(schema["$defs"][name]))
    return found


def _top() -> dict[str, Schema]:
    """Describe the keys of a sweep."""
    docs = parameter_texts(Sweep)
    entries = {"datasets": "sources", "encoders": "encoders", "indexes": "indexes"}
    plain = {"type": ["string", "number", "boolean"]}
    condition = {
        "anyOf": [
            plain,
            {"type": "array", "items": plain, "minItems": 1},
            {
                "type": "object",
                "properties": {"min": {"type": "number"}, "max": {"type": "number"}},
                "minProperties": 1,
                "additionalProperties": False,
            },
        ]
    }
    one_filter = {"type": "object", "minProperties": 1, "additionalProperties": condition}
    filters = {"anyOf": [{"enum": ["none", None]}, one_filter]}
    path = {"type": "string", "pattern": "^[^$]+$"}
    special: dict[str, Schema] = {
        **{key: _list({"$ref": f"#/$defs/{name}"}, 1) for key, name in entries.items()},
        "combine": _list({"$ref": "#/$defs/combiners"}, 0),
        "filters": _list(filters, 1),
        "measures": _list(_measure(), 1),
        "compare": _closed(_section(CompareSection)),
        "timing": {"anyOf": [_closed(_section(TimingOptions)), {"enum": ["none", None]}]},
        "limits": _closed(_section(LimitOptions)),
        "tune": {**_closed(_section(TuneSection)), "required": ["goal"]},
    }
    result: dict[str, Schema] = {
        "include": {
            "anyOf": [path, _list(path, 1)],
            "description": "Other sweep files, relative to this one, that it is merged over.",
        }
    }
    for name, field in Sweep.model_fields.items():
        annotation: Any = field.annotation
        if name in special:
            schema = special[name]
        else:
            hint = Annotated[annotation, *field.metadata] if field.metadata else annotation
            schema = _hint_schema(hint)
        result[name] = {**schema, "description": docs.get(name, "")}
        if not field.is_required() and name not in special:
            result[name]["default"] = field.default
    return result


def _measure() -> Schema:
    names = "|".join(map(re.escape, sorted({*MEASURES, *ALIASES}, key=len, reverse=True)))
    return {"type": "string", "pattern": rf"^(?i:{names})(\(.*\))?(@\S+)?$|\$\{{"}


def _list(items: Schema, least: int) -> Schema:
    return {"type": "array", "items": items, "minItems": least}


def _closed(properties: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}


def _choice(targets: Mapping[str, str], *, paths: bool = False, bare: bool = True) -> Schema:
    """Describe an entry: one of the names, alone or with its parameters."""
    references = {name: {"$ref": f"#/$defs/{target}"} for name, target in targets.items()}
    object_: Schema = {
        "type": "object",
        "properties": {
            name: {"anyOf": [one, {"type": "null"}]} for name, one in references.items()
        },
        "patternProperties": {_OWN["pattern"]: {"type": ["object", "null"]}},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    names: list[Schema] = [{"enum": sorted(targets)}, _OWN, _VARIABLE]
    if paths:
        path = r"[/\\]|\.ya?ml$|^\.{1,2}$"
        names.append({"type": "string", "pattern": path, "description": "a path"})
        object_["patternProperties"][path] = {"type": ["object", "null"]}
    return {"anyOf": [*names, object_] if bare else [object_]}


def _source(card: str) -> str:
    """Name the definition of what may stand below the name of a card."""
    path = catalogue_file("datasets", card)
    source = read_card(path).source if path else ""
    return f"dataset.{source}.card" if source in DATASETS.names() else "anything"


def _range() -> Schema:
    pair = {"type": "array", "minItems": 2, "maxItems": 2}
    log = {"type": "boolean"}
    kinds: dict[str, dict[str, Schema]] = {
        "int": {
            "int": {**pair, "items": {"type": "integer"}},
            "log": log,
            "step": {"type": "integer", "minimum": 1},
        },
        "float": {"float": {**pair, "items": {"type": "number"}}, "log": log},
        "choice": {"choice": {"type": "array", "minItems": 2}},
    }
    return {
        "description": "A range that is searched as the section 'tune' says.",
        "anyOf": [{**_closed(one), "required": [kind]} for kind, one in kinds.items()],
    }


def _optional(schema: Schema) -> Schema:
    """Leave out what is required: something else gives it."""
    return {key: one for key, one in schema.items() if key != "anyOf"}


def _parameters(
    key: str, cls: type[Any], more: Mapping[str, Schema], free: tuple[str, ...] = ()
) -> Schema:
    """Describe the parameters of something: each a value, a grid or a range; ``zip``; ``when``."""
    single = _section(cls)
    single |= {name: {"type": "object"} for name in free if name in single}
    properties = {**{name: _gridded(one) for name, one in single.items()}, **more}
    several = [name for name in properties if name not in ("label", "of")]
    if len(several) > 1:
        zipped: dict[str, Schema] = {name: {"type": "array", "minItems": 1} for name in several}
        zipped |= {name: _list(_value(one), 1) for name, one in single.items()}
        group = {**_closed(zipped), "minProperties": 2}
        own = {"$ref": f"#/$defs/{key}/properties/zip/anyOf/0"}
        text = "Parameters that vary together: lists of equal length."
        properties["zip"] = {"anyOf": [group, _list(own, 1)], "description": text}
    if several:
        plain = {"type": ["string", "number", "boolean", "null"]}
        asked = _closed({name: {"anyOf": [plain, _list(plain, 1)]} for name in single})
        kept = [*several, *(["zip"] if "zip" in properties else [])]
        added = _closed({name: {"$ref": f"#/$defs/{key}/properties/{name}"} for name in kept})
        parts: dict[str, Schema] = {
            "if": {**asked, "minProperties": 1},
            "then": {**added, "minProperties": 1},
        }
        rules = _list({**_closed(parts), "required": ["if", "then"]}, 0)
        text = "What is added where other parameters have a value."
        properties["when"] = {**rules, "description": text}
    schema = _closed(properties)
    needed = [
        field.name
        for field in dataclasses.fields(cls)
        if field.default is field.default_factory is dataclasses.MISSING
    ]
    if needed:
        schema["anyOf"] = [{"required": needed}, {"required": ["zip"]}, {"required": ["when"]}]
    return schema


def _section(cls: type[Any]) -> dict[str, Schema]:
    """Describe the fields of a dataclass, each by itself."""
    from pydantic_core import to_jsonable_python

    hints = get_type_hints(cls, include_extras=True)
    docs = parameter_texts(cls)
    result = {}
    for field in dataclasses.fields(cls):
        schema = _hint_schema(hints[field.name])
        if field.name in docs:
            schema["description"] = docs[field.name]
        if field.default is not dataclasses.MISSING:
            schema["default"] = to_jsonable_python(field.default, fallback=str)
        elif field.default_factory is not dataclasses.MISSING:
            schema["default"] = to_jsonable_python(field.default_factory(), fallback=str)
        result[field.name] = schema
    return result


def _hint_schema(hint: Any) -> Schema:
    """Describe a type; text may also be a variable of the environment."""
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticInvalidForJsonSchema

    if hint == Entry:
        return {"$ref": "#/$defs/inner"}
    try:
        schema = TypeAdapter(hint).json_schema()
    except PydanticInvalidForJsonSchema:  # a type of someone's own: anything, as far as is known
        return {}
    if all(isinstance(value, str) for value in schema.get("enum", [0])):
        return {"anyOf": [schema, _VARIABLE]}
    return schema


def _value(schema: Schema) -> Schema:
    return {key: one for key, one in schema.items() if key not in ("default", "description")}


def _gridded(schema: Schema) -> Schema:
    """Describe a value, a list of such values, or a range; in a mapping, each of its values."""
    notes: Schema = {key: schema[key] for key in ("default", "description") if key in schema}
    value = _inner_grids(_value(schema))
    reference = {"$ref": "#/$defs/range"}
    return {"anyOf": [value, _list(value, 1), reference], **notes}


def _inner_grids(value: Schema) -> Schema:
    inner = value.get("additionalProperties")
    if isinstance(inner, dict):
        return {**value, "additionalProperties": _gridded(inner)}
    if "anyOf" in value:
        return {**value, "anyOf": [_inner_grids(one) for one in value["anyOf"]]}
    return value


_PARAMETER = re.compile(r"^(?P<names>[\w*]+(?:, [\w*]+)*) : ")


def parameter_texts(cls: type[Any]) -> dict[str, str]:
    """Read what the docstring of a class, or of one it is derived from, says of its parameters.

    Examples
    --------
    >>> parameter_texts(TimingOptions)["repeats"]
    'How often each search is timed.'
    """
    found: dict[str, list[str]] = {}
    for base in reversed(cls.__mro__):
        names: list[str] = []
        section = ""
        lines = inspect.cleandoc(base.__dict__.get("__doc__") or "").splitlines()
        for line, after in zip(lines, [*lines[1:], ""], strict=True):
            if after and set(after) == {"-"}:
                section = line
            heading = _PARAMETER.match(line)
            if section not in ("Parameters", "Attributes"):
                continue
            if heading:
                names = heading["names"].split(", ")
                found |= {name: [] for name in names}
            elif line.startswith(" "):
                for name in names:
                    found[name].append(line.strip())
    return {name: _plain(" ".join(texts)) for name, texts in found.items() if texts}


def _plain(text: str) -> str:
    """Take the markup of docstrings out."""
    return re.sub(r"(?::\w+:)?(`+)~?(.+?)\1", r"'\2'", text)
