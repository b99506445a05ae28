"""``foveal verify``: a bundle's files, its number, and its parts beside the network."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.cli.extras import MissingExtraError, require_train_extra
from foveal.cli.guard import FAILED, OK, complain
from foveal.cli.text import clean, count, percent

if TYPE_CHECKING:
    from foveal.dataset import Format
    from foveal.evaluation import Verified
    from foveal.export.replay import Agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for; see ``foveal verify --help``."""

    json: bool
    format: Format | None
    videos: str | None
    threads: int | None


def run(subject: str, data: str, options: Options) -> int:
    """Verify ``subject`` on ``data``; return the exit code."""
    from foveal.bundle import BundleError
    from foveal.evaluation import verify
    from foveal.tasks.classification import NothingReadError

    try:
        done = verify(
            subject, data, format=options.format, videos=options.videos, threads=options.threads
        )
        agreed = agreement(subject, data, options)
    except (BundleError, NothingReadError) as error:
        complain(error.message, hint=error.hint)  # a file that failed
        return FAILED
    troubles = [*done.troubles]
    if agreed is not None and not agreed.holds:
        troubles.append(
            f"exported parts are {agreed.difference:.2g} from the network on one trace, and "
            f"{agreed.decided_otherwise} of {count(agreed.num_clips, 'clip')} are decided otherwise"
        )
    if options.json:
        print(json.dumps(as_json(done, agreed, troubles), allow_nan=False))
    else:
        for line in lines(done, agreed):
            print(clean(line))
    for trouble in troubles:
        complain(
            f"{done.bundle.path}: {trouble}", hint="export the bundle again, or tell its maker"
        )
    return FAILED if troubles else OK


def agreement(subject: str, data: str, options: Options) -> Agreement | None:
    """Return how a run's exported parts agree with its network; None where that cannot be asked."""
    if not Path(subject).is_dir():
        return None
    try:
        require_train_extra("comparing with the network")
    except MissingExtraError:
        print("the network is not compared: PyTorch is not installed", file=sys.stderr)
        return None
    from foveal.api import Model
    from foveal.bundle import decode_config
    from foveal.dataset import named_samples, read_dataset
    from foveal.engine.torch_runner import TorchRunner
    from foveal.evaluation import open_run
    from foveal.export.replay import compare
    from foveal.systems import index
    from foveal.train import load_weights

    found = open_run(subject)
    model = Model(found.bundle, threads=options.threads)
    told, folder = found.result, index.find(model.name).module
    network_of = importlib.import_module(f"{folder}.recipe").RECIPES[told["recipe"]]
    config = decode_config(type(model.config), told["config"])
    network = network_of(cfg=config).network().eval()
    load_weights(network, found.folder / f"{told['stages'][-1]['name']}.safetensors")
    manifest = found.bundle.manifest
    runner = TorchRunner(
        importlib.import_module(f"{folder}.model").build(network, config),
        model.runner.specs,
        {part.name: part.mac_table for part in manifest.parts},
    )
    dataset = read_dataset(
        data, format=options.format, videos=options.videos, class_names=model.class_names
    )
    return compare(
        runner,
        model.runner,
        named_samples(dataset)["test"],
        kind=dataset.kind,
        steps=model.steps,
        exit_rule=model.exit_rule,
    )


def lines(done: Verified, agreed: Agreement | None) -> list[str]:
    """Return in words what was found."""
    there, here = done.tested, done.found
    made = [
        f"files: {count(len(done.bundle.manifest.parts), 'part')}, every hash as stored",
        f"{there.data}: {percent(here.accuracy)} of {count(len(here), 'test clip')} right "
        f"({percent(there.accuracy)} stored), "
        f"{done.mean_macs / 1e9:.4g} GMACs a clip ({there.mean_macs / 1e9:.4g} stored)",
    ]
    if agreed is not None:
        made.append(
            f"network: outputs within {agreed.difference:.1g} on one trace; run freely, "
            f"{agreed.decided_otherwise} of {count(agreed.num_clips, 'clip')} decided otherwise"
        )
    return made


def as_json(done: Verified, agreed: Agreement | None, troubles: list[str]) -> dict[str, object]:
    """Return what was found as JSON data."""
    there, here = done.tested, done.found
    return {
        "bundle": str(done.bundle.path),
        "verified": not troubles,
        "troubles": troubles,
        "data": there.data,
        "num_clips": {"stored": there.num_clips, "found": len(here)},
        "accuracy": {"stored": there.accuracy, "found": here.accuracy},
        "mean_macs": {"stored": there.mean_macs, "found": done.mean_macs},
        "network": None
        if agreed is None
        else {
            "num_clips": agreed.num_clips,
            "difference": agreed.difference,
            "decided_otherwise": agreed.decided_otherwise,
        },
    }
