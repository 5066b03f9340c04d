"""The errors this package raises on purpose, and the wording they share.

Everything a user can cause derives from :class:`RetrievalEvalError`; the command line prints
its message on one line and exits 2. Any other exception is a defect of this package.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["InputError", "MissingExtraError", "RetrievalEvalError", "unknown_name"]

DISTRIBUTION = "ann-retrieval-eval"


class RetrievalEvalError(Exception):
    """Base class of every error that this package raises on purpose."""


class InputError(RetrievalEvalError, ValueError):
    """Input that cannot be used; the message names file, value, rule and the way out."""


class MissingExtraError(RetrievalEvalError, ImportError):
    """An optional library is not installed.

    Parameters
    ----------
    what : str
        What needs it, for instance ``"index 'hnsw'"``.
    module : str
        The missing import name.
    extra : str
        The extra of this distribution that installs it.
    """

    def __init__(self, what: str, module: str, extra: str) -> None:
        self.what = what
        self.module = module
        self.extra = extra
        super().__init__(
            f"{what} needs the library {module!r}, which is not installed: "
            f"pip install '{DISTRIBUTION}[{extra}]'"
        )


def unknown_name(kind: str, name: object, available: Iterable[str], where: str = "") -> InputError:
    """Build the error for a name that nothing answers to.

    Parameters
    ----------
    kind : str
        What the name should have named, for instance ``"index"``.
    name : object
        The name as given.
    available : iterable of str
        The names that would have worked.
    where : str, optional
        File, line or key where the name stands; put first in the message.

    Returns
    -------
    InputError
        The error, for the caller to raise.

    Examples
    --------
    >>> print(unknown_name("index", "hsnw", ["flat", "hnsw"]))
    unknown index 'hsnw'. Did you mean 'hnsw'? Available: flat, hnsw
    """
    names = sorted(available)
    by_lower = {candidate.lower(): candidate for candidate in names}  # 'ndcg' is close to 'nDCG'
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.6)
    hint = f" Did you mean {by_lower[close[0]]!r}?" if close else ""
    prefix = f"{where}: " if where else ""
    listed = ", ".join(names) if names else "none"
    return InputError(f"{prefix}unknown {kind} {name!r}.{hint} Available: {listed}")
