"""Finding encoders, indexes and dataset sources by name, importing only what is used."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import itertools
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from retrieval_eval.errors import InputError, MissingExtraError, unknown_name
from retrieval_eval.store import file_digest, fold_digests

__all__ = ["PluginTable", "missing_library", "own_code", "require"]

T = TypeVar("T")


def missing_library(requires: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the first (module, extra) of `requires` that cannot be imported, or None."""
    for module, extra in requires.items():
        if importlib.util.find_spec(module) is None:
            return module, extra
    return None


def require(what: str, requires: Mapping[str, str]) -> None:
    """Raise :class:`MissingExtraError` if a library that `what` needs is not installed."""
    missing = missing_library(requires)
    if missing is not None:
        raise MissingExtraError(what, *missing)


def own_code(*classes: type[Any]) -> str | None:
    """Return a key of the files that define classes of the user's own; None if all are ours.

    Such a class has no version, so an edit must show in the keys of what it made. Modules that its
    file imports are not looked at.
    """
    ours = (__name__.partition(".")[0], "builtins", "abc", "typing")
    files = []
    for base in itertools.chain.from_iterable(cls.__mro__ for cls in classes):
        if base.__module__.partition(".")[0] in ours:
            continue
        try:
            files.append(file_digest(Path(inspect.getfile(base))))
        except (OSError, TypeError):  # typed into a console
            files.append(_typed_code(base))
    if not files:
        return None
    return files[0] if len(files) == 1 else fold_digests(files)


_SESSION = uuid.uuid4().hex


def _typed_code(cls: type[Any]) -> str:
    """Return a key of a class that has no file: its source, or else one for this process alone."""
    try:
        return fold_digests([inspect.getsource(cls)])
    except (OSError, TypeError):
        return f"{_SESSION} {id(cls)}"


@contextlib.contextmanager
def _working_folder_importable() -> Iterator[None]:
    """Let a class of the user's own lie beside the sweep; everything installed comes first."""
    folder = str(Path.cwd())
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


@dataclass(frozen=True)
class PluginTable(Generic[T]):
    """A table of "module:Class" targets, widened by entry points and by such targets themselves.

    Parameters
    ----------
    kind : str
        What is looked up, for messages: ``"index"``.
    group : str
        The entry point group in which other distributions register theirs.
    base : type
        The class that every entry derives from.
    targets : mapping of str to str
        Name to "module:Class"; nothing is imported before it is asked for.
    """

    kind: str
    group: str
    base: type[T]
    targets: Mapping[str, str]

    def names(self) -> list[str]:
        """All names that :meth:`load` answers to, sorted; entry points included."""
        return sorted({*self.targets, *(point.name for point in entry_points(group=self.group))})

    def load(self, name: str, where: str = "") -> type[T]:
        """Import the class that `name` stands for.

        Parameters
        ----------
        name : str
            A name of :meth:`names`, or "module:Class" of a class of your own.
        where : str, optional
            File and key where the name stands, for the message.

        Raises
        ------
        InputError
            If nothing answers to the name, or what answers is no subclass of the base.
        """
        prefix = f"{where}: " if where else ""
        target = self.targets.get(name)
        if target is None:
            for point in entry_points(group=self.group):
                if point.name == name:
                    target = point.value
        if target is None and ":" in name:
            target = name
        if target is None:
            raise unknown_name(self.kind, name, self.names(), where)
        module_name, _, attribute = target.partition(":")
        try:
            with _working_folder_importable():
                found: Any = getattr(importlib.import_module(module_name), attribute)
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            raise InputError(f"{prefix}{self.kind} {name!r} cannot be imported: {error}") from error
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise InputError(
                f"{prefix}{self.kind} {name!r} must be a subclass of {self.base.__name__}, "
                f"got {found!r}"
            )
        return found
