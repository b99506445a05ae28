"""The commands and their options; what they do is loaded when one of them runs.

The standard library parses the arguments: a command has answered in the time that a larger
parser takes to load (docs/decisions.md).
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from foveal.cli.budgets import CALIBRATE, CURVE
from foveal.cli.command import (
    Command,
    data_options,
    natural,
    positive,
    positive_number,
    threads_option,
)
from foveal.cli.delivering import EXPORT, VERIFY
from foveal.cli.guard import USAGE, complain, guarded
from foveal.cli.judging import EVALUATE


def main(arguments: Sequence[str]) -> int:
    """Run the command that ``arguments`` name and return its exit code.

    Raises:
        SystemExit: help was asked for, or the arguments are wrong.
    """
    named = [command for command in COMMANDS if arguments[:1] == [command.name]]
    if named:
        # Intermixed: options may stand between the files.
        try:
            parsed = named[0].parser().parse_intermixed_args(plain(arguments[1:]))
        except SystemExit as left:
            if left.code == USAGE:
                hint_at_dashes(arguments[1:])
            raise
        return guarded(lambda: named[0].run(parsed))
    top = top_parser()
    if not arguments:
        top.print_help(sys.stderr)
        return USAGE
    options, _ = top.parse_known_args(arguments)
    if options.version:
        from importlib.metadata import version

        print(f"foveal {version('foveal')}")
        return 0
    top.error(f"no command {arguments[0]!r}{near(arguments[0])}")


def plain(arguments: Sequence[str]) -> list[str]:
    """Return ``arguments`` without ``--``; a name after it that looks like an option gets ``./``.

    The parser of the standard library forgets ``--`` where options may stand between names.

    >>> plain(["a.mp4", "--json", "--", "-b.mp4", "-"])
    ['a.mp4', '--json', './-b.mp4', '-']
    """
    if "--" not in arguments:
        return list(arguments)
    border = list(arguments).index("--")
    names = (f"./{x}" if x.startswith("-") and x != "-" else x for x in arguments[border + 1 :])
    return [*arguments[:border], *names]


def hint_at_dashes(arguments: Sequence[str]) -> None:
    """Say on standard error how to name a file that was taken for an option, if one was."""
    for argument in arguments:
        if argument == "--":
            return
        if argument.startswith("-") and "." in argument and "=" not in argument:
            how = f"to name a file so, write ./{argument}, or -- before it"
            complain(f"{argument} was taken for an option", hint=how)
            return


def top_parser() -> ArgumentParser:
    """Return the parser that knows no command, for help and mistakes."""
    listed = "\n".join(f"  {command.name:<10} {command.summary}" for command in COMMANDS)
    made = ArgumentParser(
        prog="foveal",
        usage="foveal COMMAND [OPTION ...]",
        description="Recognise what is in a video while looking at as little of it as possible.",
        epilog=f"commands:\n{listed}\n\n"
        "Start with `foveal demo`; `foveal COMMAND --help` says more about each.",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--version", action="store_true", help="show the version and exit")
    return made


def near(name: str) -> str:
    """Return a guess at which command was meant, if one is near."""
    from difflib import get_close_matches

    found = get_close_matches(name, [command.name for command in COMMANDS], n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


# --- recognize ------------------------------------------------------------------------------


def _recognize_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="file, folder, pattern such as 'clips/*.mp4', http(s) URL, "
        "or - for a list on standard input",
    )
    parser.add_argument(
        "--model",
        metavar="BUNDLE",
        help="a .foveal file or a run of `foveal train`; without it the embedded tagger",
    )
    parser.add_argument(
        "--top-k",
        metavar="N",
        type=positive,
        default=1,
        help="labels shown for each stretch of time (default: 1, the tagger gives up to 5)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON record a line, errors included"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="also look at everything; say how well both agree and what was saved",
    )
    _explain_option(parser)
    threads_option(parser)
    _budget_options(parser)


def _budget_options(parser: ArgumentParser) -> None:
    asked = parser.add_argument_group("budgets, for a bundle that `foveal calibrate` measured")
    asked.add_argument(
        "--max-gmacs",
        metavar="X",
        type=positive_number,
        help="billions of multiply-accumulates of a clip, in the mean over clips",
    )
    asked.add_argument(
        "--hard", action="store_true", help="no single clip may exceed --max-gmacs either"
    )
    asked.add_argument(
        "--max-ms",
        metavar="X",
        type=positive_number,
        help="milliseconds that 95 of 100 clips stay below on this machine",
    )
    asked.add_argument(
        "--min-confidence",
        metavar="P",
        type=positive_number,
        help="how sure answers are in the mean, up to 1: the cheapest way to get there",
    )
    asked.add_argument(
        "--reprofile", action="store_true", help="time this machine again before choosing"
    )


def _explain_option(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--explain",
        metavar="OUT.html",
        help="write a page that shows what was looked at and decided",
    )


def _recognize(options: Namespace) -> int:
    from foveal.cli import recognize

    return recognize.run(
        options.inputs,
        recognize.Options(
            model=options.model,
            top_k=options.top_k,
            json=options.json,
            check=options.check,
            explain=options.explain,
            threads=options.threads,
            max_gmacs=options.max_gmacs,
            max_ms=options.max_ms,
            min_confidence=options.min_confidence,
            hard=options.hard,
            reprofile=options.reprofile,
        ),
    )


# --- doctor ---------------------------------------------------------------------------------


def _doctor_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="file, folder, pattern, URL, or - for a list on standard input",
    )
    parser.add_argument(
        "--full", action="store_true", help="decode every frame, not only a few: slow, thorough"
    )
    parser.add_argument(
        "--jsonl",
        metavar="FILE",
        default="bad.jsonl",
        help="where to list the broken ones, if there are any (default: bad.jsonl)",
    )
    parser.add_argument(
        "--workers", metavar="N", type=positive, help="files examined at once (default: one a core)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON record a line, sound files included"
    )


def _doctor(options: Namespace) -> int:
    from foveal.cli import doctor

    return doctor.run(
        options.paths,
        doctor.Options(
            full=options.full, jsonl=options.jsonl, workers=options.workers, json=options.json
        ),
    )


# --- systems --------------------------------------------------------------------------------


def _systems_options(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON array")


def _systems(options: Namespace) -> int:
    from foveal.cli import systems

    return systems.run(json_array=options.json)


# --- haystack -------------------------------------------------------------------------------


def _haystack_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "out", metavar="OUT", nargs="?", help="folder to write to; alone, the presets are listed"
    )
    parser.add_argument("--preset", metavar="NAME", help="which task to write")
    parser.add_argument(
        "--split",
        choices=("train", "calibration", "test"),
        default="train",
        help="which samples; splits share none (default: train)",
    )
    parser.add_argument(
        "--count", metavar="N", type=positive, default=100, help="how many (default: 100)"
    )
    parser.add_argument(
        "--start",
        metavar="N",
        type=natural,
        default=0,
        help="number of the first one (default: 0)",
    )
    parser.add_argument(
        "--seed", metavar="N", type=natural, default=0, help="other videos (default: 0)"
    )


def _haystack(options: Namespace) -> int:
    from foveal.cli import haystack

    return haystack.run(
        options.out,
        haystack.Options(
            preset=options.preset,
            split=options.split,
            count=options.count,
            start=options.start,
            seed=options.seed,
        ),
    )


# --- import ---------------------------------------------------------------------------------


def _import_options(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the system, as `foveal systems` lists it")
    parser.add_argument("weights", metavar="WEIGHTS", help="a .pth or .safetensors file")
    parser.add_argument(
        "-o", "--out", metavar="BUNDLE", required=True, help="the .foveal file to write"
    )
    parser.add_argument(
        "--config", metavar="NAME", help="which of the system's configurations the weights are of"
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="one field of it, where the weights differ; may be repeated",
    )
    names = parser.add_mutually_exclusive_group()
    names.add_argument(
        "--classes", metavar="FILE", help="class names, one a line, in the order of training"
    )
    names.add_argument(
        "--numbered-classes",
        action="store_true",
        help="call the classes 'class 0', 'class 1' and so on",
    )
    parser.add_argument(
        "--key", metavar="NAME", help="which of several sets of tensors in the file"
    )
    parser.add_argument(
        "--licence",
        metavar="SPDX",
        default="NOASSERTION",
        help="of the weights (default: NOASSERTION, nothing is said)",
    )


def _import(options: Namespace) -> int:
    from foveal.cli import import_

    return import_.run(
        import_.Options(
            name=options.name,
            weights=options.weights,
            out=options.out,
            config=options.config,
            settings=tuple(options.set),
            classes=options.classes,
            numbered=options.numbered_classes,
            key=options.key,
            licence=options.licence,
        )
    )


# --- train ----------------------------------------------------------------------------------


def _train_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "data",
        metavar="DATA",
        help="folder with a folder of videos for each class, or a list; docs/data.md has all forms",
    )
    parser.add_argument(
        "--out", metavar="RUN", help="folder of the run (default: runs/DATA-SYSTEM-RECIPE)"
    )
    parser.add_argument(
        "--system", metavar="NAME", help="as `foveal systems` lists it (default: what suits)"
    )
    parser.add_argument(
        "--recipe", metavar="NAME", help="of the system (default: one for a CPU and small sets)"
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="batch_size, lr, epochs, num_frames, recipe.NAME, device ...; may be repeated",
    )
    parser.add_argument(
        "--pretrained",
        metavar="WEIGHTS",
        nargs="?",
        const="auto",
        help="begin with ImageNet weights: from a file, or found in packages and caches",
    )
    data_options(parser)
    parser.add_argument(
        "--seed", metavar="N", type=natural, default=0, help="of everything drawn (default: 0)"
    )
    parser.add_argument(
        "--cache",
        metavar="GIB",
        type=float,
        default=4.0,
        help="keep decoded frames if all fit into this (default: 4; 0 keeps none)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in RUN, exactly where it stopped"
    )


def _train(options: Namespace) -> int:
    from foveal.cli import train

    return train.run(
        options.data,
        train.Options(
            out=options.out,
            system=options.system,
            recipe=options.recipe,
            settings=tuple(options.set),
            pretrained=options.pretrained,
            format=options.format,
            videos=options.videos,
            seed=options.seed,
            cache_gib=options.cache,
            resume=options.resume,
        ),
    )


# --- demo -----------------------------------------------------------------------------------


def _demo_options(parser: ArgumentParser) -> None:
    parser.add_argument("--keep", metavar="DIR", help="keep the clip in this folder")
    _explain_option(parser)


def _demo(options: Namespace) -> int:
    from foveal.cli import demo

    return demo.run(keep=options.keep, explain=options.explain)


COMMANDS = (
    Command(
        name="recognize",
        summary="Say what is in a video, and when.",
        about="Below the answer stands how little was looked at, and what that cost. The\n"
        "embedded tagger names things (objects), not actions.\n\n"
        "Exit code: 0 if every file was recognised, 1 if one failed or the model cannot\n"
        "be used, 2 if the command is wrong.",
        examples=(
            "foveal recognize holiday.mp4",
            "foveal recognize clips/ --json > records.jsonl",
            "find . -name '*.mkv' | foveal recognize - --top-k 3",
            "foveal recognize clips/ --model model.foveal --max-gmacs 2 --hard",
        ),
        options=_recognize_options,
        run=_recognize,
    ),
    Command(
        name="doctor",
        summary="Find broken videos before they do harm.",
        about="Exit code: 0 if all are sound, 1 if one is not, 2 if the command is wrong.",
        examples=("foveal doctor clips/", "foveal doctor clips/ --full --jsonl broken.jsonl"),
        options=_doctor_options,
        run=_doctor,
    ),
    Command(
        name="systems",
        summary="List the systems and their claims.",
        about="For each: what it decides, its paper, the licence of the published code, whether\n"
        "it works here yet, and if so what was measured and whether its claim holds.",
        examples=("foveal systems", "foveal systems --json"),
        options=_systems_options,
        run=_systems,
    ),
    Command(
        name="haystack",
        summary="Write videos in which it is known where to look.",
        about="Folders of MP4 files by class, with the truth about each in truth.jsonl: which\n"
        "frames, which region and which sense tell the class. The same files each time.\n"
        "Without OUT and --preset it lists the presets; docs/haystack.md describes them.\n\n"
        "Exit code: 0 if all were written, 1 if one was not, 2 if the command is wrong.",
        examples=(
            "foveal haystack",
            "foveal haystack clips --preset salient-frames-v1 --count 20",
            "foveal haystack clips --preset fine-object-v1 --split test --seed 1",
        ),
        options=_haystack_options,
        run=_haystack,
    ),
    Command(
        name="import",
        summary="Make a bundle of official weights.",
        about="Every tensor is mapped by name and shape, or the command says which is not. A\n"
        ".pth file is read as tensors only: nothing in it is run. Needs the extra\n"
        "`train`; the bundle does not.\n\n"
        "Exit code: 0 if the bundle was written, 2 if not.",
        examples=(
            "foveal import NAME official.pth -o my.foveal --config paper --classes a.txt",
            "foveal import NAME official.pth -o my.foveal --config paper\n"
            "      --set num_classes=157 --numbered-classes",
        ),
        options=_import_options,
        run=_import,
    ),
    Command(
        name="train",
        summary="Learn to recognise what your own videos show.",
        about="Picks a system and a small recipe for DATA, or takes those you name, and says\n"
        "why. What it leaves in RUN: model.foveal, which `foveal recognize --model` runs\n"
        "without PyTorch, result.json with accuracy and cost on the test split,\n"
        "metrics.csv, and bad.jsonl with the videos that could not be read. Needs the\n"
        "extra `train`.\n\n"
        "Exit code: 0 if the model was trained and judged, 2 if not.",
        examples=(
            "foveal train clips/ --out runs/first",
            "foveal train clips/ --out runs/first --resume",
            "foveal train list.csv --system ocsampler --set num_frames=4 --set epochs=50",
            "torchrun --nproc-per-node 2 -m foveal train clips/ --out runs/two",
        ),
        options=_train_options,
        run=_train,
    ),
    EVALUATE,
    CALIBRATE,
    CURVE,
    EXPORT,
    VERIFY,
    Command(
        name="demo",
        summary="Draw a one-minute clip and recognise it.",
        about="Shows when each drawn object was found, where Foveal looked, and the bill beside\n"
        "that of looking at everything; then short clips in which it is known where to\n"
        "look, each by a system trained on such. Needs no file and no network.\n\n"
        "Exit code: 0 if every drawn object was found and every clip named, else 1.",
        examples=("foveal demo", "foveal demo --keep . --explain demo.html"),
        options=_demo_options,
        run=_demo,
    ),
)
"""In the order of the list that ``foveal --help`` prints."""
