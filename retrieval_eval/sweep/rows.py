"""The rows of a sweep: what is searched, and what is combined of what was searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.combiners import Combiner
from retrieval_eval.datasets import Dataset
from retrieval_eval.encoders import Encoder
from retrieval_eval.filters import Filter
from retrieval_eval.indexes import Index
from retrieval_eval.qrels import Qrels

__all__ = [
    "AnyRow",
    "CombinedRow",
    "CombinerChoice",
    "EncoderChoice",
    "IndexChoice",
    "Row",
    "View",
    "shown_parameters",
]

_LONGEST_NAME = 150  # of a run's file; systems end names at 255 bytes


@dataclass(frozen=True, eq=False)
class EncoderChoice:
    """One encoder of the sweep.

    Parameters
    ----------
    label : str
        What tables call it.
    encoder : Encoder
        Not fitted.
    missing : str or None
        Why it cannot be used here.
    place : int
        Which entry of the sweep it comes from.
    """

    label: str
    encoder: Encoder
    missing: str | None
    place: int

    def require(self) -> None:
        """Raise :class:`MissingExtraError` if it cannot be used here."""
        self.encoder.require()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The encoder's identity, asked for once: it may take reading gigabytes of weights."""
        return {"label": self.label} if self.missing else self.encoder.identity()


@dataclass(frozen=True, eq=False)
class IndexChoice:
    """One index to build, with the search settings to try on it.

    Parameters
    ----------
    name : str
        The entry's name or label.
    shown : str
        The name with the build parameters that the sweep names.
    index : Index
        Not built.
    settings : tuple of (str, dict)
        How tables show a setting, and the setting with all its fields.
    missing : str or None
        Why it cannot be used here.
    place : int
        Which entry of the sweep it comes from.
    """

    name: str
    shown: str
    index: Index
    settings: tuple[tuple[str, dict[str, Any]], ...]
    missing: str | None
    place: int

    def require(self) -> None:
        """Raise :class:`MissingExtraError` if it cannot be used here."""
        self.index.require()


@dataclass(frozen=True, eq=False)
class View:
    """A dataset as a filter leaves it.

    Parameters
    ----------
    where : Filter or None
        The filter; None lets every document pass.
    mask : ndarray of bool, shape (n,), or None
        Which documents pass.
    qrels : Qrels
        The judgments of those.
    """

    where: Filter | None
    mask: NDArray[np.bool_] | None
    qrels: Qrels

    @property
    def shown(self) -> str:
        """The filter as tables show it."""
        return "" if self.where is None else str(self.where)

    @property
    def selectivity(self) -> float:
        """Share of the documents that pass, from 0 to 1."""
        return 1.0 if self.mask is None else float(self.mask.mean())


@dataclass(frozen=True, eq=False)
class Row:
    """One configuration: a row of the table.

    Parameters
    ----------
    row_id : str
        Stable: the same for the same data, encoder, index, setting, k and labels.
    dataset : Dataset
        The data.
    encoder : EncoderChoice
        The encoder.
    index : IndexChoice
        The index.
    setting_shown : str
        The search setting as tables show it.
    setting : dict
        The search setting.
    view : View
        What the filter leaves of the dataset.
    is_reference : bool
        Whether the other rows of its encoder are compared with this one.
    """

    row_id: str
    dataset: Dataset
    encoder: EncoderChoice
    index: IndexChoice
    setting_shown: str
    setting: dict[str, Any]
    view: View
    is_reference: bool

    @property
    def encoder_label(self) -> str:
        """What stands in the column of encoders."""
        return self.encoder.label

    @property
    def index_name(self) -> str:
        """What stands in the column of indexes."""
        return self.index.name

    @property
    def parameters(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Those of building and those of searching."""
        return asdict(self.index.index.parameters), self.setting

    @property
    def shown(self) -> str:
        """Index and setting as tables show them."""
        return f"{self.index.shown} {self.setting_shown}".strip()

    @property
    def missing(self) -> str | None:
        """Why this row is skipped."""
        return self.encoder.missing or self.index.missing

    @property
    def run_name(self) -> str:
        """A name that no other row of the sweep has."""
        return _run_name(self)


@dataclass(frozen=True, eq=False)
class CombinerChoice:
    """One way of the sweep to combine rows.

    Parameters
    ----------
    name : str
        The entry's name or label.
    shown : str
        The name with the parameters that the sweep names.
    combiner : Combiner
        The combiner.
    of : tuple of str
        What it combines: encoders, configurations ("encoder | index ...") or earlier combinations.
    missing : str or None
        Why it cannot be used here.
    place : int
        Which entry of the sweep it comes from.
    """

    name: str
    shown: str
    combiner: Combiner
    of: tuple[str, ...]
    missing: str | None
    place: int

    def require(self) -> None:
        """Raise :class:`MissingExtraError` if it cannot be used here."""
        self.combiner.require()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The combiner's identity, asked for once: it may take reading gigabytes of weights."""
        return {"name": self.name} if self.missing else self.combiner.identity()


@dataclass(frozen=True, eq=False)
class CombinedRow:
    """A row that is made of others: a fusion, or one ranked again.

    Parameters
    ----------
    row_id : str
        Stable: the same for the same rows, combiner, k and labels.
    dataset : Dataset
        The data.
    choice : CombinerChoice
        How.
    parts : tuple of Row or CombinedRow
        Of what; all of one dataset and view.
    view : View
        What the filter leaves of the dataset.
    """

    row_id: str
    dataset: Dataset
    choice: CombinerChoice
    parts: tuple[AnyRow, ...]
    view: View
    is_reference: bool = False

    @property
    def encoder_label(self) -> str:
        """What stands in the column of encoders: what it is made of."""
        return " + ".join(self.choice.of)

    @property
    def index_name(self) -> str:
        """What stands in the column of indexes: how it is made."""
        return self.choice.name

    @property
    def shown(self) -> str:
        """The combiner as tables show it."""
        return self.choice.shown

    @property
    def parameters(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Those of the combiner; there are none of searching."""
        own = self.choice.combiner.parameters
        return {"of": list(self.choice.of), **asdict(own)}, {}

    @property
    def missing(self) -> str | None:
        """Why this row is skipped."""
        return self.choice.missing or next((one.missing for one in self.parts if one.missing), None)

    @property
    def run_name(self) -> str:
        """A name that no other row of the sweep has."""
        return _run_name(self)


AnyRow = Row | CombinedRow


def _run_name(row: AnyRow) -> str:
    parts = (row.dataset.name, row.encoder_label, row.shown, row.view.shown)
    words = " ".join(filter(None, parts)).replace("=", "")
    kept = "".join(c if c.isalnum() or c in "._-" else "_" for c in words)
    return f"{kept[:_LONGEST_NAME]}.{row.row_id[:8]}"


def shown_parameters(name: str, values: Mapping[str, Any]) -> str:
    """Print a name with parameters, as tables show them: ``hnsw M=16``."""
    pairs = (f"{key}={_value(value)}" for key, value in values.items())
    return " ".join([name, *pairs]).strip()


def _value(value: Any) -> str:
    """Print an index inside a parameter as ``ivf-pq(nlist=64 m=16)``, its settings alike."""
    if not isinstance(value, Mapping):
        return str(value)
    if len(value) == 1:
        ((name, inner),) = value.items()
        if inner is None or isinstance(inner, Mapping):
            return f"{name}({shown_parameters('', inner)})" if inner else str(name)
    return f"({shown_parameters('', value)})"
