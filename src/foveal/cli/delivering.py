"""The commands that take a model away and check it there; what they do is loaded when they run."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from foveal.cli.command import Command, data_options, threads_option


def _export_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder that `foveal train` left")
    parser.add_argument(
        "-o", "--out", metavar="BUNDLE", required=True, help="the .foveal file to write"
    )
    parser.add_argument(
        "--int8",
        metavar="DATA",
        help="store parts in eight bits; DATA is what the run was trained on: its clips "
        "show ranges, and its test clips what is lost (needs the extra `train`)",
    )
    parser.add_argument("--force", action="store_true", help="replace BUNDLE if it is there")
    data_options(parser)
    threads_option(parser)


def _export(options: Namespace) -> int:
    from foveal.cli import export

    return export.run(
        options.run,
        export.Options(
            out=options.out,
            int8=options.int8,
            force=options.force,
            format=options.format,
            videos=options.videos,
            threads=options.threads,
        ),
    )


EXPORT = Command(
    name="export",
    summary="Write a trained model as one file to take away.",
    about="The bundle holds the parts as ONNX, the settings, class names, canvas, what\n"
    "`foveal calibrate` measured, its origin, hashes, and the accuracy on the\n"
    "run's test clips, which `foveal verify` has again. It runs without PyTorch.\n"
    "With --int8 it is about a quarter of the size; what that costs in accuracy and\n"
    "gains in time on this machine is measured and said.\n\n"
    "Exit code: 0 if the bundle stands, 2 if not.",
    examples=(
        "foveal export runs/first -o first.foveal",
        "foveal export runs/first -o small.foveal --int8 clips/",
    ),
    options=_export_options,
    run=_export,
)


def _verify_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "subject", metavar="BUNDLE_OR_RUN", help="a .foveal file, or a run of `foveal train`"
    )
    parser.add_argument("data", metavar="DATA", help="the clips that its number was measured on")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    data_options(parser)
    threads_option(parser)


def _verify(options: Namespace) -> int:
    from foveal.cli import verify

    return verify.run(
        options.subject,
        options.data,
        verify.Options(
            json=options.json,
            format=options.format,
            videos=options.videos,
            threads=options.threads,
        ),
    )


VERIFY = Command(
    name="verify",
    summary="Check a bundle's files, and have its stored accuracy again.",
    about="Every file is checked against its hash, and the test clips of DATA must give\n"
    "the stored accuracy within 0.1 points at the stored cost. Of a run, with the\n"
    "extra `train` installed, the exported parts are also compared with the trained\n"
    "network: on one trace outputs within 0.001, and run freely the same frames,\n"
    "boxes and exits on 99 of 100 clips. Needs no PyTorch otherwise.\n\n"
    "Exit code: 0 if all is as stored, 1 if not or there is no bundle, 2 if the\n"
    "command or DATA is wrong.",
    examples=(
        "foveal verify first.foveal clips/",
        "foveal verify runs/first clips/ --json",
    ),
    options=_verify_options,
    run=_verify,
)
