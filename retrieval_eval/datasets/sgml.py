"""The two forms of markup that TREC distributes: documents between tags, and topics.

Neither is XML by its own rules (tags stay open, ampersands stand alone), so no XML parser reads
them: tags are cut out where they stand, and only the entities of HTML are known. Nothing is ever
fetched or expanded.
"""

from __future__ import annotations

import codecs
import html
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from retrieval_eval.errors import InputError
from retrieval_eval.textfiles import open_bytes

__all__ = [
    "Block",
    "Topic",
    "check_encoding",
    "decode",
    "field_texts",
    "read_blocks",
    "read_topics",
]

_CHUNK = 1 << 20
_LARGEST = 1 << 28
_MARK = 64  # longer than any tag that opens or closes a document
_DOCUMENT = re.compile(rb"<(/?)doc\s*>", re.IGNORECASE)
_TOKEN = re.compile(
    r"<!--.*?-->|<!\[CDATA\[(?P<verbatim>.*?)\]\]>|<\?.*?\?>|<![A-Z][^>]*>"
    r"|<(?P<closing>/?)(?P<tag>[A-Za-z][\w.:-]*)(?P<attributes>(?:\s[^<>]*)?)/?>",
    re.DOTALL,
)
_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);")
_TOPIC = re.compile(r"<(/?)(top|topic)((?:\s[^<>]*)?)>", re.IGNORECASE)
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""")
_NUMBER = re.compile(r"""\b(?:number|num|id|qid)\s*=\s*["']?\s*([^"'\s>]+)""", re.IGNORECASE)
_NUMBER_FIELDS = ("num", "number", "id", "qid", "query_id", "topic_id")
_PROMPTS = {
    "num": re.compile(r"^number\s*:", re.IGNORECASE),
    "title": re.compile(r"^topic\s*:", re.IGNORECASE),
    "desc": re.compile(r"^description\s*:", re.IGNORECASE),
    "narr": re.compile(r"^narrative\s*:", re.IGNORECASE),
}


class Block(NamedTuple):
    """One document between its tags.

    Parameters
    ----------
    line, offset : int
        Where it starts: line from 1, and byte of the unpacked file from 0.
    data : bytes
        What stands between ``<DOC>`` and ``</DOC>``.
    """

    line: int
    offset: int
    data: bytes


class Topic(NamedTuple):
    """One topic.

    Parameters
    ----------
    line : int
        Where it starts.
    number : str
        Its id as text: leading zeros stay.
    fields : dict of str to str
        Text of each field, under its tag in lower case; text outside of any field is ``text``.
    """

    line: int
    number: str
    fields: dict[str, str]


def check_encoding(encoding: str, where: str) -> str:
    """Return the name of an encoding in which tags are written as in ASCII.

    Raises
    ------
    InputError
        If there is no such encoding, or it is none of those.

    Examples
    --------
    >>> check_encoding("Latin-1", "here")
    'iso8859-1'
    """
    try:
        found = codecs.lookup(encoding)
        plain = "<DOC>".encode(found.name) == b"<DOC>"
    except (LookupError, ValueError):
        raise InputError(
            f"{where}: there is no encoding {encoding!r}: try utf-8, latin-1 or cp1252"
        ) from None
    if not plain:
        raise InputError(f"{where}: the encoding {encoding!r} does not write tags as ASCII does")
    return found.name


def decode(path: Path, block: Block, encoding: str) -> str:
    """Decode a block; the error names line and byte."""
    try:
        return block.data.decode(encoding)
    except UnicodeDecodeError as error:
        line = block.line + block.data.count(b"\n", 0, error.start)
        raise InputError(
            f"{path}:{line}: not {encoding} text ({error.reason}) at byte "
            f"{block.offset + error.start}: {block.data[error.start : error.start + 8]!r}; older "
            "collections want encoding: latin-1"
        ) from None


def read_blocks(path: Path) -> Iterator[Block]:
    """Yield the documents of a file, packed or plain; memory holds one of them.

    Parameters
    ----------
    path : Path
        Documents between ``<DOC>`` and ``</DOC>``, in either case; what stands outside is ignored.

    Raises
    ------
    InputError
        If there is no document, one is not closed, or the file is cut off.
    """
    found, line, offset = 0, 1, 0
    opened: tuple[int, int] | None = None  # line and offset
    buffer = bytearray()
    searched = 0
    with open_bytes(path) as stream:
        while True:
            mark = _DOCUMENT.search(buffer, searched)
            if mark is None:
                chunk = stream.read(_CHUNK)
                if not chunk:
                    break
                if offset == 0 and not buffer and chunk[:2] == b"\x1f\x9d":
                    raise InputError(
                        f"{path}: packed by 'compress': unpack it with 'uncompress' or 'gzip -d'"
                    )
                keep = len(buffer) if opened else min(len(buffer), _MARK)
                line += buffer.count(b"\n", 0, len(buffer) - keep)
                offset += len(buffer) - keep
                del buffer[: len(buffer) - keep]
                searched = max(0, len(buffer) - _MARK)
                buffer += chunk
                if len(buffer) > _LARGEST:
                    place = f"{path}:{opened[0] if opened else line}"
                    raise InputError(f"{place}: no </DOC> within {_LARGEST >> 20} MiB")
                continue
            here = line + buffer.count(b"\n", 0, mark.start())
            closing = mark.group(1) == b"/"
            if closing != (opened is not None):
                rule = "</DOC> without a <DOC>"
                if opened:
                    rule = f"<DOC> inside the document that starts at line {opened[0]}"
                raise InputError(f"{path}:{here}: {rule}: a tag is missing")
            if opened:
                yield Block(*opened, bytes(buffer[: mark.start()]))
                found, opened = found + 1, None
            else:
                opened = (here, offset + mark.end())
            line = here + buffer.count(b"\n", mark.start(), mark.end())
            offset += mark.end()
            del buffer[: mark.end()]
            searched = 0
    if opened:
        raise InputError(f"{path}:{opened[0]}: the document has no </DOC>: the file is cut off")
    if not found:
        raise InputError(f"{path}: holds no <DOC>, and TREC's documents stand between such tags")


def _plain(text: str) -> str:
    return _ENTITY.sub(lambda match: html.unescape(match.group()), text)


def field_texts(text: str, wanted: Collection[str]) -> tuple[str, set[str]]:
    """Return the text inside some fields of a document, and which tags it has.

    Parameters
    ----------
    text : str
        Of one document.
    wanted : collection of str
        Tags in lower case. What stands inside of them counts, whatever other tags are there.

    Returns
    -------
    text : str
        In the order of the document, without tags, with single spaces.
    tags : set of str
        All tags, in lower case.

    Examples
    --------
    >>> text = "<DOCNO>x</DOCNO><HEAD>A &amp; B</HEAD><TEXT><P>one</P><P>two</P></TEXT>"
    >>> field_texts(text, {"head", "text"})[0]
    'A & B one two'
    """
    pieces: list[str] = []
    tags: set[str] = set()
    open_now: Counter[str] = Counter()
    end = 0
    for token in _TOKEN.finditer(text):
        if open_now:
            pieces.append(_plain(text[end : token.start()]))
            if token["verbatim"] is not None:
                pieces.append(token["verbatim"])
        end = token.end()
        if not token["tag"]:
            continue
        tag = token["tag"].lower()
        tags.add(tag)
        if tag in wanted and not token.group().endswith("/>"):
            open_now[tag] += -1 if token["closing"] else 1
            open_now = +open_now  # a tag that was never opened closes nothing
    if open_now:
        pieces.append(_plain(text[end:]))
    return " ".join(" ".join(pieces).split()), tags


def read_topics(path: Path, encoding: str) -> Iterator[Topic]:
    """Yield topics between ``<top>`` or ``<topic>`` tags, fields closed or not.

    Parameters
    ----------
    path : Path
        The file, packed or plain; an encoding that its XML declaration names goes before
        `encoding`.
    encoding : str
        What it is written in.

    Raises
    ------
    InputError
        If a topic is not closed or has no number, or the file declares entities.
    """
    with open_bytes(path) as stream:
        data = stream.read().removeprefix(codecs.BOM_UTF8)
    declared = _DECLARED.match(data)
    if declared:
        encoding = check_encoding(declared[1].decode("ascii"), str(path))
    text = decode(path, Block(1, 0, data), encoding)
    entity = text.find("<!ENTITY")
    if entity >= 0:
        line = text.count("\n", 0, entity) + 1
        raise InputError(
            f"{path}:{line}: declares an entity, and none is expanded here: write its text instead"
        )
    opened: re.Match[str] | None = None
    line, counted = 1, 0
    for mark in _TOPIC.finditer(text):
        line += text.count("\n", counted, mark.start())
        counted = mark.start()
        if bool(mark[1]) != (opened is not None):
            rule = "a topic ends that did not start"
            if opened:
                rule = f"<{mark[2]}> inside a topic: its </{opened[2]}> is missing"
            raise InputError(f"{path}:{line}: {rule}")
        if opened is None:
            opened, start = mark, line
            continue
        yield _topic(f"{path}:{start}", start, opened[3], text[opened.end() : mark.start()])
        opened = None
    if opened:
        raise InputError(f"{path}:{start}: the topic has no </{opened[2]}>: the file is cut off")


def _topic(place: str, line: int, attributes: str, text: str) -> Topic:
    pieces: dict[str, list[str]] = {}
    current, end = "text", 0
    for token in _TOKEN.finditer(text):
        pieces.setdefault(current, []).append(_plain(text[end : token.start()]))
        if token["verbatim"] is not None:
            pieces[current].append(token["verbatim"])
        end = token.end()
        if token["tag"] and not token.group().endswith("/>"):
            current = "text" if token["closing"] else token["tag"].lower()
    pieces.setdefault(current, []).append(_plain(text[end:]))
    fields = {}
    for name, parts in pieces.items():
        joined = " ".join(" ".join(parts).split())
        fields[name] = _PROMPTS[name].sub("", joined).strip() if name in _PROMPTS else joined
    inside = next((fields[name] for name in _NUMBER_FIELDS if fields.get(name)), "")
    attribute = _NUMBER.search(attributes)
    number = attribute[1] if attribute else inside
    if not number:
        raise InputError(f'{place}: the topic has no number: neither <num> nor number="..."')
    return Topic(line, number, {name: text for name, text in fields.items() if text})
