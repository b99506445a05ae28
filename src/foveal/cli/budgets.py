"""The commands that measure and draw what accuracy costs; what they do is loaded when they run."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from foveal.cli.command import Command, data_options, judged_arguments, threads_option


def _calibrate_options(parser: ArgumentParser) -> None:
    judged_arguments(parser)
    parser.add_argument(
        "--split",
        choices=("validation", "train", "test"),
        default="validation",
        help="which clips of DATA (default: validation)",
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="OUT.foveal",
        help="bundle to write (default: the one that is measured takes the curve up)",
    )
    data_options(parser)
    threads_option(parser)


def _calibrate(options: Namespace) -> int:
    from foveal.cli import calibrate

    return calibrate.run(
        options.subject,
        options.data,
        calibrate.Options(
            split=options.split,
            out=options.out,
            format=options.format,
            videos=options.videos,
            threads=options.threads,
        ),
    )


CALIBRATE = Command(
    name="calibrate",
    summary="Measure what a model is worth at every cost.",
    about="Runs every operating point of its system on labelled clips it did not learn\n"
    "from, solves the thresholds of its exits, times this machine, and keeps the\n"
    "curve in the bundle, for `foveal recognize --max-gmacs, --max-ms,\n"
    "--min-confidence` and `foveal curve`. Says so if a plain point is better than\n"
    "those that decide. Needs no PyTorch.\n\n"
    "Exit code: 0 if every clip was read, 1 if one or the model could not be, 2 if\n"
    "the command or DATA is wrong.",
    examples=(
        "foveal calibrate runs/first clips/",
        "foveal calibrate model.foveal labels.csv -o calibrated.foveal",
    ),
    options=_calibrate_options,
    run=_calibrate,
)


def _curve_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "results",
        metavar="RESULT",
        nargs="+",
        help="calibrated bundle, run that holds one, or folder of `foveal evaluate`",
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="PICTURE",
        default="curve.svg",
        help="ends in .svg or .png; the figures go beside it as .csv (default: curve.svg)",
    )


def _curve(options: Namespace) -> int:
    from foveal.cli import curve

    return curve.run(options.results, out=options.out)


CURVE = Command(
    name="curve",
    summary="Draw accuracy by cost, several models in one picture.",
    about="With what no other point beats (the Pareto front) marked over all of them. A\n"
    "calibrated bundle of the system `baselines` brings the uniform, random and dense\n"
    "runs. PNG needs the extra `plot`, SVG nothing.\n\n"
    "Exit code: 0 if it was drawn, 2 if not.",
    examples=(
        "foveal curve calibrated.foveal",
        "foveal curve runs/policy runs/baseline evaluations/dense-test-clips -o all.svg",
    ),
    options=_curve_options,
    run=_curve,
)
