"""Putting a page together: one file that holds its looks, its behaviour and its data.

Nothing is fetched to show the page, and its own rules make sure of that: its
Content-Security-Policy forbids every request, and every script but those that were written into it
here. Texts of data sets are written by a template engine that escapes them, or by scripts as text
nodes.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from retrieval_eval.report.figures.looks import dark_colours

if TYPE_CHECKING:
    import jinja2

__all__ = ["Section", "assemble"]

_ASSETS = resources.files(__package__) / "assets"


@dataclass(frozen=True, eq=False)
class Section:
    """A part of a page.

    Parameters
    ----------
    name : str
        Its id, the beginning of its deep links, and the name of its assets: ``NAME.html.j2``, and
        ``NAME.js`` and ``NAME.css`` if it needs them.
    title : str
        Its heading.
    context : mapping
        What its template shows. Text is escaped.
    parts : mapping of str to JSON value
        Data that its script asks for by ``page.part("NAME/KEY")``: packed, and unpacked only then.
        NaN and infinite numbers are no JSON and are refused.
    """

    name: str
    title: str
    context: Mapping[str, Any]
    parts: Mapping[str, Any] = field(default_factory=dict)


def assemble(
    title: str,
    sections: Iterable[Section],
    *,
    subtitle: str = "",
    figures: bool = True,
    connect: bool = False,
) -> str:
    """Return a page as HTML.

    Parameters
    ----------
    title : str
        Of the page.
    sections : iterable of Section
        In the order of the page.
    subtitle : str
        A line below the title.
    figures : bool
        Whether a section draws figures: these need 0.9 MB of Vega.
    connect : bool
        Whether scripts may ask the server that the page came from.

    Raises
    ------
    ValueError
        If a part holds NaN or infinity.
    """
    sections = list(sections)
    environment = _environment()
    scripts = [_asset("page.js"), *(_asset(f"{one.name}.js") for one in sections)]
    code = "\n".join(["'use strict';", *filter(None, scripts), "page.start();"])
    libraries = [_vega()] if figures else []
    styles = [_asset("page.css"), *(_asset(f"{one.name}.css") for one in sections)]
    return environment.get_template("page.html.j2").render(
        title=title,
        subtitle=subtitle,
        policy=_policy([*libraries, code], connect=connect),
        style="\n".join(filter(None, styles)),
        sections=[
            {
                "name": one.name,
                "title": one.title,
                "html": environment.get_template(f"{one.name}.html.j2").render(one.context),
            }
            for one in sections
        ],
        parts=[
            {"name": f"{one.name}/{key}", "content": _packed(value)}
            for one in sections
            for key, value in one.parts.items()
        ]
        + ([{"name": "figures/dark", "content": _packed(dark_colours())}] if figures else []),
        libraries=libraries,
        code=code,
    )


def _policy(scripts: Sequence[str], *, connect: bool) -> str:
    """Return rules by which a browser runs these scripts and fetches nothing."""
    digests = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    ]
    server = "'self'" if connect else "'none'"
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(digests)}",
            "style-src 'unsafe-inline'",  # Vega's tooltips bring theirs
            "img-src data: blob:",
            f"connect-src {server}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _packed(value: Any) -> str:
    """Pack a JSON value; equal values give equal text."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


@cache
def _asset(name: str) -> str:
    """Return the text of an asset; empty if a section has none of this kind."""
    path = _ASSETS / name
    return path.read_text(encoding="utf-8") if path.is_file() else ""


@cache
def _vega() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script."""
    import vl_convert

    # In an HTML file, a script ends where this stands, even within a string.
    return str(vl_convert.javascript_bundle()).replace("</script", "<\\/script")


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: _asset(name) or None),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
