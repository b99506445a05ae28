"""What a command is, and the values that several of them take."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One verb of the command line.

    Args:
        name: as typed.
        summary: one line for the list of commands.
        about: what else a reader of ``--help`` should know, in lines of at most 80 characters.
        examples: command lines.
        options: adds the options to a parser.
        run: does it and returns the exit code.
    """

    name: str
    summary: str
    about: str
    examples: tuple[str, ...]
    options: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]

    def parser(self) -> ArgumentParser:
        """Return the parser of what follows the name."""
        examples = "\n".join(f"  {line}" for line in self.examples)
        made = ArgumentParser(
            prog=f"foveal {self.name}",
            description=f"{self.summary}\n\n{self.about}",
            epilog=f"examples:\n{examples}",
            formatter_class=RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.options(made)
        return made


def positive(text: str) -> int:
    """Return ``text`` as a whole number of at least 1.

    Raises:
        ArgumentTypeError: it is not one.
    """
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def natural(text: str) -> int:
    """Return ``text`` as a whole number of at least 0.

    Raises:
        ArgumentTypeError: it is not one.
    """
    if not text.isdecimal():
        raise ArgumentTypeError(f"must be a whole number of at least 0, got {text!r}")
    return int(text)


def positive_number(text: str) -> float:
    """Return ``text`` as a number above 0.

    Raises:
        ArgumentTypeError: it is not one.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


FORMATS = (
    "folder",
    "csv",
    "jsonl",
    "kinetics",
    "activitynet",
    "activitynet-videos",
    "something-something",
    "diving48",
    "ucf101",
    "hmdb51",
    "thumos14",
    "features",
)
"""As in :mod:`foveal.dataset`, which is not loaded for that."""


def judged_arguments(parser: ArgumentParser) -> None:
    """Take a model, and the clips it is judged on."""
    parser.add_argument(
        "subject",
        metavar="RUN_OR_BUNDLE",
        help="folder that `foveal train` left, or a .foveal file",
    )
    parser.add_argument("data", metavar="DATA", help="labelled clips, in any form of docs/data.md")


def data_options(parser: ArgumentParser) -> None:
    """Let ``--format`` say what DATA is, and ``--videos`` where its videos are."""
    parser.add_argument(
        "--format",
        metavar="FORMAT",
        choices=FORMATS,
        help=f"of DATA (default: by its looks): {', '.join(FORMATS)}",
    )
    parser.add_argument(
        "--videos", metavar="FOLDER", help="where the videos of a list are (default: beside it)"
    )


def threads_option(parser: ArgumentParser) -> None:
    """Let ``--threads`` say on how many cores to compute."""
    parser.add_argument(
        "--threads", metavar="N", type=positive, help="cores to compute with (default: all)"
    )
