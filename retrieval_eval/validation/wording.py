"""What two texts have in common however they are set: the same words in the same order."""

from __future__ import annotations

import hashlib
import re
import unicodedata

__all__ = ["text_key", "wording"]

# Scripts that put no space between words: Thai, Lao, Myanmar, Khmer, kana, Han. Each of their
# characters counts as a word, or a whole sentence would be one.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_UNSPACED}\U00020000-\U0003ffff]|[^\\W{_UNSPACED}\U00020000-\U0003ffff]+")
_ASCII_WORD = re.compile("[a-z0-9_]+")


def wording(text: str) -> str:
    r"""Return the words of a text, one space between them: no case, punctuation or layout.

    Unicode's compatibility forms are unified (NFKC). In scripts without spaces between words,
    each character is a word.

    Examples
    --------
    >>> wording("  Wing-body\u00a0Interference,  at MACH 2!\n")
    'wing body interference at mach 2'
    >>> wording("\u7fbd\u306e lift")
    '羽 の lift'
    """
    if text.isascii():
        return " ".join(_ASCII_WORD.findall(text.lower()))
    unified = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_WORD.findall(unified))


def text_key(text: str) -> int:
    """Return a key of 64 bits of a text; 0 for a text without characters.

    Two different texts have one key with a chance of 2**-64: of 10 million texts, any two with a
    chance below 0.00001.
    """
    if not text:
        return 0
    data = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(data, "little") or 1
