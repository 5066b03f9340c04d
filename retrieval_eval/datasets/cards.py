"""Dataset cards: what a YAML file of the folder ``datasets/`` may say, and the files it needs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from textwrap import shorten
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from annotated_types import Ge

from retrieval_eval.catalogue import catalogue_file, catalogue_names, read_specification
from retrieval_eval.errors import InputError
from retrieval_eval.fetching import (
    CHECKSUM_DIGITS,
    Fetched,
    archive_stem,
    fetch,
    unpack,
    unpacked_from,
)
from retrieval_eval.parameters import make_parameters
from retrieval_eval.store import Store

__all__ = ["CARD_COLUMNS", "FILES", "SIZES", "Card", "CardFile", "card_rows", "read_card"]

FILES = "$files"
"""Stands, at the beginning of a parameter, for the folder that the card's files are in."""

SIZES = ("documents", "queries", "judgments", "dimensions", "neighbours")
"""What ``sizes`` may count; for vectors, ``documents`` are those that are searched."""

CARD_COLUMNS: Sequence[tuple[str, bool]] = [
    ("name", False),
    ("title", False),
    ("language", False),
    ("documents", True),
    ("queries", True),
    ("judgments", True),
    ("source", False),
    ("licence", False),
]
"""Heading of each column of :func:`card_rows`, and whether it holds numbers."""

_LICENCE = 48  # characters shown in a listing; the card has the whole text


@dataclass(frozen=True)
class CardFile:
    """A file that a dataset is loaded from.

    Parameters
    ----------
    url : str
        Where it comes from; see :func:`retrieval_eval.fetching.fetch` for what is accepted.
    name : str
        What it is called in the cache; by default as in the URL.
    md5, sha1, sha256, sha512, blake2b : str
        Its checksum, in hexadecimal; any of them, all given ones are checked.
    bytes : int
        Its size.
    unpack : bool or str
        Whether to unpack it: ``true`` into a folder of its name without suffixes (for a packed
        file that is no archive: into a file), a text into a folder of that name.
    """

    url: str
    name: str = ""
    md5: str = ""
    sha1: str = ""
    sha256: str = ""
    sha512: str = ""
    blake2b: str = ""
    bytes: Annotated[int, Ge(0)] | None = None
    unpack: bool | str = False

    @property
    def file_name(self) -> str:
        """Its name in the cache."""
        return self.name or unquote(PurePosixPath(urlsplit(self.url).path).name)

    @property
    def unpacked_name(self) -> str:
        """What it is unpacked to; an empty text if it is not."""
        if isinstance(self.unpack, str):
            return self.unpack
        return archive_stem(self.file_name) if self.unpack else ""

    @property
    def checksums(self) -> dict[str, str]:
        """The checksums that are given."""
        return {name: getattr(self, name) for name in CHECKSUM_DIGITS if getattr(self, name)}


@dataclass(frozen=True)
class Card:
    """What a card says. Only `source` is needed in a card of your own.

    Parameters
    ----------
    source : str
        Which source loads it.
    parameters : mapping
        Parameters of the source. ``$files`` at the beginning of a text stands for the folder of
        the card's files.
    name : str
        Name of the card's file, without suffix; not a key of it.
    title, language, licence, homepage, citation : str
        What it is called; ISO 639-1 codes; what the publisher states; where it is described.
    relevance : str
        The scale of its grades, in words.
    recommended_measures : tuple of str
        What is usually reported for it.
    sizes : mapping of str to int
        Counts, under the names of :data:`SIZES`; what is not known is left out.
    checksums : mapping of str to str
        Of files that the source fetches by itself: ``algorithm:digits`` by name.
    facts : str
        Where the figures above come from.
    method, notes : str
        How it was made; what to beware of.
    files : tuple of CardFile
        What is fetched before it is loaded.
    folder : str
        Folder of the files, below ``downloads/`` in the cache; by default the card's name. Cards
        that share files name the same folder.
    obtain : str
        Where the files cannot be fetched: what to obtain, and under which names to put it into
        that folder.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mine.yaml"
    >>> _ = path.write_text("{source: beir, parameters: {path: $files/mine}, obtain: Ask Jo}")
    >>> card = read_card(path)
    >>> card.resolve(card.parameters, Store(Path("/cache")))
    {'path': '/cache/downloads/mine/mine'}
    """

    source: str
    parameters: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    title: str = ""
    language: str = ""
    licence: str = ""
    homepage: str = ""
    citation: str = ""
    relevance: str = ""
    recommended_measures: tuple[str, ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    facts: str = ""
    method: str = ""
    notes: str = ""
    files: tuple[CardFile, ...] = ()
    folder: str = ""
    obtain: str = ""

    def folder_in(self, store: Store) -> Path:
        """Return the folder that the card's files are in, or will be."""
        return store.root / "downloads" / (self.folder or self.name)

    def resolve(self, parameters: Mapping[str, Any], store: Store) -> dict[str, Any]:
        """Return parameters with ``$files`` replaced; nothing is fetched.

        Parameters
        ----------
        parameters : mapping
            Those of the card, or others in their place.
        store : Store
            Where fetched files are kept.
        """
        folder = str(self.folder_in(store))
        return {key: _replaced(value, folder) for key, value in parameters.items()}

    def fetch(
        self,
        parameters: Mapping[str, Any],
        store: Store,
        advance: Callable[[int], None] | None = None,
    ) -> list[Fetched]:
        """Make sure that the files are there which `parameters` speak of.

        Parameters
        ----------
        parameters : mapping
            As for :meth:`resolve`. Where no value begins with ``$files``, nothing is fetched.
        store : Store
            Where fetched files are kept.
        advance : callable, optional
            See :func:`retrieval_eval.fetching.fetch`.

        Returns
        -------
        list of Fetched
            The files that were fetched or checked. One that is unpacked already is neither: the
            archive can be deleted.

        Raises
        ------
        FetchError
            If a file cannot be fetched; the message says how to go on without a network.
        InputError
            If a file is not the expected one, cannot be unpacked, or has to be put there by hand
            and is not there.
        """
        wanted = list(_texts_of_files(parameters.values()))
        if not wanted:
            return []
        folder = self.folder_in(store)
        paths = [Path(_replaced(text, str(folder))) for text in wanted]
        if self.obtain:  # before hours of fetching the rest
            made = {name for file in self.files for name in (file.file_name, file.unpacked_name)}
            by_hand = [path for path in paths if not made & {*path.relative_to(folder).parts[:1]}]
            self._refuse_missing(by_hand, folder)
        found = [one for file in self.files if (one := _have(file, folder, advance)) is not None]
        self._refuse_missing(paths, folder)
        return found

    def _refuse_missing(self, paths: Sequence[Path], folder: Path) -> None:
        missing = next((path for path in paths if not path.exists()), None)
        if missing is None:
            return
        if not self.obtain:
            raise InputError(
                f"dataset {self.name!r}: {missing} is not there. The fetched files do not hold it: "
                "the card's parameters and files do not fit"
            )
        raise InputError(
            f"dataset {self.name!r}: {missing} is not there. {' '.join(self.obtain.split())} "
            f"Put what you get into {folder}"
        )


def _texts_of_files(values: Any) -> Any:
    for value in values:
        if isinstance(value, str) and (value == FILES or value.startswith(f"{FILES}/")):
            yield value
        elif isinstance(value, Mapping):
            yield from _texts_of_files(value.values())
        elif isinstance(value, list | tuple):
            yield from _texts_of_files(value)


def _replaced(value: Any, folder: str) -> Any:
    if isinstance(value, str) and (value == FILES or value.startswith(f"{FILES}/")):
        return folder + value[len(FILES) :]
    if isinstance(value, Mapping):
        return {key: _replaced(one, folder) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(one, folder) for one in value]
    return value


def _have(file: CardFile, folder: Path, advance: Callable[[int], None] | None) -> Fetched | None:
    """Fetch a file, and unpack it if it is to be; None if it is unpacked already."""
    identity = " ".join(f"{name}:{value}" for name, value in file.checksums.items())
    target = folder / file.unpacked_name
    if file.unpacked_name:
        made_of = unpacked_from(target)
        if made_of is not None and identity in {"", made_of}:
            return None
    found = fetch(
        file.url,
        folder / file.file_name,
        checksums=file.checksums,
        size=file.bytes,
        advance=advance,
    )
    if file.unpacked_name:
        unpack(found.path, target, identity=identity or f"sha256:{found.sha256}")
    return found


# -- reading ----------------------------------------------------------------------------------


def read_card(path: Path) -> Card:
    """Read a card.

    Parameters
    ----------
    path : Path
        A YAML file.

    Raises
    ------
    InputError
        If it is no card: an unknown key (with a suggestion), a missing ``source``, a value of the
        wrong kind, a checksum of the wrong length, a file's name that is a path, ``$files``
        without ``files`` or ``obtain``.
    """
    keys = [one.name for one in dataclasses.fields(Card) if one.name not in {"source", "name"}]
    mappings = ("parameters", "sizes", "checksums")
    where = str(path)
    data = read_specification(path, "source", tuple(set(keys) - {*mappings}), mappings)
    files = data.pop("files", None) or []
    if not isinstance(files, list) or not all(isinstance(one, dict) for one in files):
        raise InputError(f"{where}: 'files' must be a list of mappings: start each with '- url:'")
    measures = data.get("recommended_measures") or []
    data["recommended_measures"] = tuple(measures) if isinstance(measures, list) else measures
    given = {key: value for key, value in data.items() if value is not None}
    card = make_parameters(Card, {**given, "name": path.stem}, where)
    made = tuple(_card_file(one, f"{where}: files[{number}]") for number, one in enumerate(files))
    _check(card, made, where)
    return dataclasses.replace(card, files=made)


def _card_file(values: Mapping[str, Any], where: str) -> CardFile:
    file = make_parameters(CardFile, values, where)
    for name, value in file.checksums.items():
        _check_digits(f"{where}: {name}", name, value)
    for what, name in (("name", file.file_name), ("unpack", file.unpacked_name or "none")):
        if not _is_plain(name):
            raise InputError(f"{where}: {what} must be a plain file name, got {name!r}")
    if file.unpacked_name == file.file_name:
        raise InputError(f"{where}: unpack would replace {file.file_name!r}; give it another name")
    return file


def _check(card: Card, files: Sequence[CardFile], where: str) -> None:
    for key, count in card.sizes.items():
        if key not in SIZES or count < 0:
            raise InputError(
                f"{where}: sizes holds {key}: {count!r}; it may count {', '.join(SIZES)}"
            )
    for key, value in card.checksums.items():
        algorithm, _, digits = value.partition(":")
        if algorithm not in CHECKSUM_DIGITS:
            raise InputError(
                f"{where}: the checksum of {key!r} must be 'ALGORITHM:DIGITS' with one of "
                f"{', '.join(CHECKSUM_DIGITS)}, got {value!r}"
            )
        _check_digits(f"{where}: {algorithm} of {key!r}", algorithm, digits)
    if card.folder and not _is_plain(card.folder):
        raise InputError(f"{where}: folder must be a plain name, got {card.folder!r}")
    names = [name for file in files for name in (file.file_name, file.unpacked_name) if name]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{where}: files name {twice!r} twice; give one another name")
    if any(True for _ in _texts_of_files(card.parameters.values())) and not (files or card.obtain):
        raise InputError(
            f"{where}: {FILES} stands for nothing: add 'files', or say how to 'obtain'"
        )


def _is_plain(name: str) -> bool:
    return bool(re.fullmatch(r"[^/\\\0]+", name)) and name not in {".", ".."}


def _check_digits(what: str, algorithm: str, digits: str) -> None:
    if not re.fullmatch(f"[0-9a-f]{{{CHECKSUM_DIGITS[algorithm]}}}", digits):
        raise InputError(
            f"{what} must be {CHECKSUM_DIGITS[algorithm]} hexadecimal digits in lower case, "
            f"got {digits!r}"
        )


def card_rows() -> list[tuple[str, ...]]:
    """Return a row for each card of the folder ``datasets/``, in order of name.

    Returns
    -------
    list of tuple of str
        Cells under :data:`CARD_COLUMNS`; what a card does not say is empty.
    """
    rows = []
    for name in catalogue_names("datasets"):
        path = catalogue_file("datasets", name)
        if path is None:
            continue
        card = read_card(path)
        sizes = (f"{card.sizes[key]:,}" if key in card.sizes else "" for key in SIZES[:3])
        licence = shorten(card.licence, _LICENCE)
        rows.append((name, card.title, card.language, *sizes, card.source, licence))
    return rows
