"""Train a system on labelled videos, judge it, keep it: what ``foveal train`` does, in Python.

    python examples/train_on_clips.py clips/ runs/mine

Another system is another import; its recipes ``small`` and ``paper`` are for more than an example.
"""

import sys
from pathlib import Path

from foveal.api import load
from foveal.dataset import read_dataset
from foveal.export import export_bundle
from foveal.systems.baselines import model, protocol, recipe
from foveal.tasks.classification import evaluate
from foveal.train import configure, fit, make_data, terminal_line

clips, out = read_dataset(sys.argv[1]), Path(sys.argv[2])
num_classes, num_samples = len(clips.class_names), len(clips.samples["train"])
wanted = {"steps": 60, "num_frames": 4}
configured = configure(
    recipe.tiny, num_classes=num_classes, num_samples=num_samples, settings=wanted
)
made, cfg = configured.recipe, configured.recipe.config
data = make_data(clips, made, protocol)
result = fit(made, data.train, validation=data.validation, out=out, seed=0, log=terminal_line())

export_bundle(
    out / "mine.foveal",
    system="baselines",
    config=cfg,
    modules=model.build(result.network, cfg),
    specs=protocol.parts(cfg),
    class_names=clips.class_names,
    licence="Apache-2.0",
)
mine = load(out / "mine.foveal")
judged = evaluate(clips.samples["test"], kind=clips.kind, runner=mine.runner, steps=mine.steps)
print(f"{judged.accuracy:.1%} right at {judged.mean(lambda cost: cost.gmacs):.3f} GMACs a clip")
