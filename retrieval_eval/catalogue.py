"""Where the files live that a user edits: ``indexes/``, ``datasets/``, ``experiments/``.

In a checkout they stand beside the package; an installed wheel carries a copy inside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from retrieval_eval.errors import InputError

__all__ = ["catalogue_file", "catalogue_names", "read_yaml"]

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


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that must hold a mapping.

    Raises
    ------
    InputError
        If the file cannot be read, is not YAML, or holds something else than a mapping.
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
    return data
