"""Figures as files: SVG, PNG, PDF, or the specification, without a browser or a network."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval_eval.errors import InputError

__all__ = ["FORMATS", "save"]

FORMATS = (".svg", ".png", ".pdf", ".json")
"""Suffixes of the formats of figures."""

_SCHEMA = re.compile(r"/vega-lite/v(\d+)\.(\d+)")
_LARGEST_SCALE = 20.0
_DEFINED = re.compile(r'<(?:linearGradient|radialGradient|clipPath)\b[^>]*? id="([a-z_]+)(\d+)"')
_NAMED = re.compile(r'((?:\bid="|"url\(#))([a-z_]+\d+)')


def save(figure: Mapping[str, Any], path: str | Path, *, scale: float = 2.0) -> Path:
    """Write a figure; its suffix tells the format.

    Equal figures give equal bytes as SVG and JSON (with one version of vl-convert).

    Parameters
    ----------
    figure : mapping
        A specification, as the functions of :mod:`retrieval_eval.report.figures` return it.
    path : str or Path
        Where to: ``.svg``, ``.png``, ``.pdf``, or ``.json`` for the specification.
    scale : float
        Pixels of a PNG for each of the figure, above 0 and up to 20; 300/72 gives 300 dots an
        inch. Other formats have no pixels.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    InputError
        For another suffix, a scale out of range, a figure that cannot be drawn, or a path that
        cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise InputError(
            f"{path}: no format of figures ends so: name a file that ends in {', '.join(FORMATS)}"
        )
    if not (math.isfinite(scale) and 0 < scale <= _LARGEST_SCALE):
        raise InputError(f"{path}: scale {scale:g} must be above 0 and at most 20")
    data = _json(figure) if suffix == ".json" else _drawn(figure, suffix, scale, path)
    scratch = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        scratch.write_bytes(data)
        scratch.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        scratch.unlink(missing_ok=True)
    return path


def _json(figure: Mapping[str, Any]) -> bytes:
    return (json.dumps(figure, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode()


def _drawn(figure: Mapping[str, Any], suffix: str, scale: float, path: Path) -> bytes:
    import vl_convert

    found = _SCHEMA.search(str(figure.get("$schema", "")))
    version = f"{found[1]}.{found[2]}" if found else None
    known = vl_convert.get_vegalite_versions()
    if version not in known:
        raise InputError(
            f"{path}: the figure is one of Vega-Lite {version or '(no $schema)'}, and vl-convert "
            f"draws {', '.join(known)}: install versions of altair and vl-convert-python that fit"
        )
    # As text: a mapping would lose the order of its keys. No base address: nothing is fetched.
    options: dict[str, Any] = {"vl_version": version, "allowed_base_urls": []}
    spec = json.dumps(figure, ensure_ascii=False, allow_nan=False)
    try:
        if suffix == ".svg":
            return _renumbered(vl_convert.vegalite_to_svg(spec, **options)).encode()
        if suffix == ".png":
            return bytes(vl_convert.vegalite_to_png(spec, scale=scale, **options))
        return bytes(vl_convert.vegalite_to_pdf(spec, **options))
    except ValueError as error:
        line = next((one for one in str(error).splitlines() if one.strip()), "")
        raise InputError(f"{path}: the figure cannot be drawn: {line.strip()}") from None


def _renumbered(svg: str) -> str:
    """Count gradients and clips from 0: the library counts on from figure to figure."""
    names = {
        f"{found[1]}{found[2]}": f"{found[1]}{number}"
        for number, found in enumerate(_DEFINED.finditer(svg))
    }
    return _NAMED.sub(lambda found: found[1] + names.get(found[2], found[2]), svg)
