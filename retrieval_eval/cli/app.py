"""The command line. Its verbs build objects and make one call of the Python API.

Machine output goes to stdout, everything else to stderr. Exit codes: 0 done, 1 a gate or a replay
said no, 2 bad input or usage, 3 part of a sweep failed, 130 stopped.
"""

from __future__ import annotations

import contextlib
import sys
from enum import StrEnum
from typing import Annotated, Any, NoReturn

import typer

from retrieval_eval import __version__
from retrieval_eval.errors import RetrievalEvalError

__all__ = [
    "DrawsOption",
    "Interval",
    "IntervalOption",
    "MeasureOption",
    "SeedOption",
    "app",
    "main",
    "print_json",
    "say",
]

app = typer.Typer(
    name="retrieval-eval",
    help="Which encoder and which ANN index is good enough, how sure can you be, at what cost?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

MeasureOption = Annotated[
    list[str] | None,
    typer.Option("-m", "--measure", help="A measure such as nDCG@10; repeat for several."),
]


class Interval(StrEnum):
    """Ways to an interval of a mean."""

    t = "t"
    percentile = "percentile"
    bca = "bca"


IntervalOption = Annotated[Interval, typer.Option(help="95 % interval: t, or a bootstrap.")]
DrawsOption = Annotated[
    int | None,
    typer.Option(min=100, help="Draws of resampling; by default 10,000, or what it takes."),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of resampling.")]


def main() -> NoReturn:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except RetrievalEvalError as error:
        say(f"error: {error}")
        sys.exit(2)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except typer.Abort:
        say("stopped")
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        sys.stderr.close()
        sys.exit(141)
    except SystemExit as stop:  # the option parser's and the tables' way with a closed pipe
        with contextlib.suppress(OSError):
            sys.stderr.close()
        sys.exit(141 if stop.code == 1 else stop.code)
    except OSError as error:
        say(f"error: cannot write: {error.strerror}")
        sys.exit(2)
    except Exception as error:
        show = getattr(error, "show", None)  # a usage error of the option parser
        if show is None:
            raise
        show()
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def say(message: str) -> None:
    """Print to stderr."""
    typer.echo(message, err=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    pass


def print_json(content: Any) -> None:
    """Print to stdout; a float keeps all its digits."""
    import json

    typer.echo(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))
