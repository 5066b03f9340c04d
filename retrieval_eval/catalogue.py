"""Where the files live that a user edits: ``indexes/``, ``datasets/``, ``experiments/``.

In a checkout they stand beside the package; an installed wheel carries a copy inside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from retrieval_eval.errors import InputError, unknown_name

__all__ = ["catalogue_file", "catalogue_names", "read_specification"]

Folder = Literal["indexes", "datasets", "experiments"]

_PACKAGE = Path(__file__).resolve().parent


def _folder(folder: Folder) -> Path:
    installed = _PACKAGE / "catalogue" / folder
    return installed if installed.is_dir() else _PACKAGE.parent / folder


def catalogue_names(folder: Folder) -> list[str]:
    """List the names that can be used: the YAML files of `folder`, without their suffix.

    Examples
    --------
    >>> "flat" in catalogue_names("indexes")
    True
    """
    return sorted(path.stem for path in _folder(folder).glob("*.yaml"))


def catalogue_file(folder: Folder, name: str) -> Path | None:
    """Find the file that `name` stands for.

    Parameters
    ----------
    folder : {'indexes', 'datasets', 'experiments'}
        Which of the three folders.
    name : str
        A name of :func:`catalogue_names`, or the path of a YAML file of the same form.

    Returns
    -------
    Path or None
        None if nothing answers to the name.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        return path if path.is_file() else None
    path = _folder(folder) / f"{name}.yaml"
    return path if name in catalogue_names(folder) and path.is_file() else None


def read_specification(
    path: Path, required: str, texts: tuple[str, ...], mappings: tuple[str, ...]
) -> dict[str, Any]:
    """Read a YAML file of one of the folders, strictly.

    Parameters
    ----------
    path : Path
        The file.
    required : str
        The key that must be there; it holds text.
    texts : tuple of str
        Keys that hold text, or plain values for people to read.
    mappings : tuple of str
        Keys that hold keys of their own; an empty mapping where they are left out.

    Raises
    ------
    InputError
        If the file cannot be read, is not YAML, or a key is unknown, missing or holds the wrong
        kind of value.
    """
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a mapping of keys to values, got {type(data).__name__}")
    for key in data:
        if key not in (required, *texts, *mappings):
            raise unknown_name("key", key, (required, *texts, *mappings), str(path))
    if not isinstance(data.get(required), str):
        raise InputError(f"{path}: the key {required!r} must be there and hold a name")
    for key in mappings:
        data[key] = data.get(key) or {}
        if not isinstance(data[key], dict):
            raise InputError(f"{path}: {key!r} must hold keys of its own, got {data[key]!r}")
    return data
