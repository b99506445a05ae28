"""The commands that judge a model; what they do is loaded when one of them runs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from foveal.cli.command import (
    Command,
    data_options,
    judged_arguments,
    positive_number,
    threads_option,
)


def _evaluate_options(parser: ArgumentParser) -> None:
    judged_arguments(parser)
    parser.add_argument(
        "--split",
        choices=("test", "validation", "train"),
        default="test",
        help="which clips of DATA (default: test)",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="where to write, or to go on (default: SPLIT-DATA in RUN, or below evaluations/)",
    )
    data_options(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--point",
        metavar="NAME",
        help="operating point of a calibrated bundle (default: the bundle as it is)",
    )
    which.add_argument(
        "--max-gmacs", metavar="X", type=positive_number, help="the point that holds this budget"
    )
    which.add_argument(
        "--max-ms", metavar="X", type=positive_number, help="likewise, on this machine"
    )
    parser.add_argument("--json", action="store_true", help="print evaluation.json on one line")
    threads_option(parser)


def _evaluate(options: Namespace) -> int:
    from foveal.cli import evaluate

    return evaluate.run(
        options.subject,
        options.data,
        evaluate.Options(
            split=options.split,
            out=options.out,
            format=options.format,
            videos=options.videos,
            json=options.json,
            threads=options.threads,
            point=options.point,
            max_gmacs=options.max_gmacs,
            max_ms=options.max_ms,
        ),
    )


EVALUATE = Command(
    name="evaluate",
    summary="Say how often a model is right, how sure, and at what cost.",
    about="Writes FOLDER/evaluation.json with all figures, report.html with plots and the\n"
    "worst mistakes, and clips.jsonl with a line for each clip; if it is stopped, the\n"
    "same command goes on. DATA that the model was trained on is split as it was\n"
    "then; of other data without splits all is test. Needs no PyTorch.\n\n"
    "Exit code: 0 if every clip was judged, 1 if one or the model could not be\n"
    "read, 2 if the command or DATA is wrong.",
    examples=(
        "foveal evaluate runs/first clips/",
        "foveal evaluate model.foveal labels.csv --split validation --json",
        "foveal evaluate runs/first clips/ --max-gmacs 2",
    ),
    options=_evaluate_options,
    run=_evaluate,
)
