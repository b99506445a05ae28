"""The commands and their options; what they do is loaded when one of them runs."""

from __future__ import annotations

from typing import Annotated

import typer

from foveal.cli.guard import guarded

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help in plain text: loading Rich would double the time to the answer
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nTry:      foveal demo\nThen:     foveal recognize clip.mp4",
)

_EXPLAIN = typer.Option(
    metavar="OUT.html", help="Write a page that shows what was looked at and decided."
)
_JSON_LINES = typer.Option("--json", help="Print one JSON record a line, errors included.")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"foveal {version('foveal')}")
        raise typer.Exit


@app.callback()
def foveal(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Recognise what is in a video while looking at as little of it as possible."""


@app.command(
    epilog="\b\n"
    "Example:  foveal recognize holiday.mp4\n"
    "          foveal recognize clips/ --json > records.jsonl\n"
    "          find . -name '*.mkv' | foveal recognize - --top-k 3"
)
def recognize(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Files, folders, patterns such as 'clips/*.mp4', http(s) URLs, "
            "or - for a list on standard input.",
            show_default=False,
        ),
    ],
    *,
    model: Annotated[
        str | None,
        typer.Option(metavar="BUNDLE", help="A .foveal file. Default: the embedded tagger."),
    ] = None,
    top_k: Annotated[
        int, typer.Option(metavar="N", min=1, help="Labels shown for each stretch of time.")
    ] = 1,
    json: Annotated[bool, _JSON_LINES] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Also look at everything; say how well both agree and what was saved."
        ),
    ] = False,
    explain: Annotated[str | None, _EXPLAIN] = None,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Cores to compute with. Default: all."),
    ] = None,
) -> None:
    """Say what is in a video, and when.

    Below the answer stands how little was looked at, and what that cost. The embedded tagger
    names things (objects), not actions.

    Exit code: 0 if every file was recognised, 1 if one failed, 2 if the command is wrong.
    """

    def work() -> int:
        from foveal.cli import recognize as command

        options = command.Options(
            model=model, top_k=top_k, json=json, check=check, explain=explain, threads=threads
        )
        return command.run(inputs, options)

    raise typer.Exit(guarded(work))


@app.command(
    epilog="\b\n"
    "Example:  foveal doctor clips/\n"
    "          foveal doctor clips/ --full --jsonl broken.jsonl"
)
def doctor(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Files, folders, patterns, or - for a list on standard input.",
            show_default=False,
        ),
    ],
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Decode every frame, not only a few: slow, thorough.")
    ] = False,
    jsonl: Annotated[
        str, typer.Option(metavar="FILE", help="Where to list the broken ones, if there are any.")
    ] = "bad.jsonl",
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Files examined at once. Default: one a core."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON record a line, sound files included.")
    ] = False,
) -> None:
    """Find broken videos before they do harm.

    Exit code: 0 if all are sound, 1 if one is not, 2 if the command is wrong.
    """

    def work() -> int:
        from foveal.cli import doctor as command

        options = command.Options(full=full, jsonl=jsonl, workers=workers, json=json)
        return command.run(paths, options)

    raise typer.Exit(guarded(work))


@app.command(epilog="\b\nExample:  foveal systems\n          foveal systems --json")
def systems(
    *,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """List the systems and their claims.

    For each: what it decides, its paper, the licence of the published code, whether it works
    here yet, and if so what was measured and whether its claim holds.
    """

    def work() -> int:
        from foveal.cli import systems as command

        return command.run(json_array=json)

    raise typer.Exit(guarded(work))


@app.command(epilog="\b\nExample:  foveal demo\n          foveal demo --keep . --explain demo.html")
def demo(
    *,
    keep: Annotated[
        str | None, typer.Option(metavar="DIR", help="Keep the clip in this folder.")
    ] = None,
    explain: Annotated[str | None, _EXPLAIN] = None,
) -> None:
    """Draw a one-minute clip and recognise it.

    Shows when each drawn object was found, where Foveal looked, and the bill beside that of
    looking at everything. Needs no file and no network.

    Exit code: 0 if every drawn object was found, 1 if one was not.
    """

    def work() -> int:
        from foveal.cli import demo as command

        return command.run(keep=keep, explain=explain)

    raise typer.Exit(guarded(work))
