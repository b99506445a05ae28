"""``foveal import``: official weights of a system to a bundle that runs without PyTorch."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

from foveal.cli.extras import train_extra
from foveal.cli.guard import OK, USAGE, complain
from foveal.cli.settings import parse_settings
from foveal.cli.text import clean, count


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says.

    Args:
        name: of the system.
        weights: the official file.
        out: the bundle to write.
        config: function of the system's ``protocol.py`` that returns its ``Config``.
        settings: ``NAME=VALUE`` in place of what that function says.
        classes: file with one class name a line.
        numbered: call the classes ``class 0``, ``class 1`` ... instead.
        key: which of several sets of tensors in the file.
        licence: SPDX expression of the weights.
    """

    name: str
    weights: str
    out: str
    config: str | None
    settings: tuple[str, ...]
    classes: str | None
    numbered: bool
    key: str | None
    licence: str


def run(options: Options) -> int:
    """Write the bundle, say what is in it, and return the exit code."""
    from foveal.cli.import_choice import (
        find_row,
        make_config,
        numbered_names,
        read_class_names,
    )

    row = find_row(options.name)
    names = None if options.classes is None else read_class_names(options.classes)
    if names is None and not options.numbered:
        complain(
            "class names are missing",
            hint="give --classes FILE, one name a line in the order of training, "
            "or --numbered-classes to do without",
        )
        return USAGE
    config = make_config(
        importlib.import_module(f"{row.module}.protocol"),
        preset=options.config,
        settings=parse_settings(options.settings),
        num_classes=None if names is None else len(names),
    )
    names = names or numbered_names(config.num_classes)
    with train_extra("importing weights"):
        from foveal.backbones.weight_file import read_weights
        from foveal.export.official import import_official
    weights = read_weights(options.weights, key=options.key)
    tensors = count(len(weights.tensors), "tensor")
    print(f"Mapping {tensors} and exporting ...", file=sys.stderr, flush=True)
    _, exported = import_official(
        weights, options.out, row=row, config=config, class_names=names, licence=options.licence
    )
    size = Path(options.out).stat().st_size / 2**20
    print(f"{clean(options.out)}: {row.title}, {len(names)} classes, {size:.1f} MiB")
    for one in exported:
        print(f"  part {one.part.spec.name}: within {one.parity:.1g} of the network's output")
    print(f"  weights {clean(Path(weights.path).name)}, SHA-256 {weights.sha256}")
    return OK
