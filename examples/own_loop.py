"""A training loop of your own: networks, losses and batches are there, the rest is PyTorch.

python examples/own_loop.py clips/
"""

import sys

import torch

from foveal.dataset import read_dataset
from foveal.recipe import StepContext
from foveal.systems.baselines import protocol, recipe
from foveal.train import batches, make_data, make_optimizer, set_modes

clips = read_dataset(sys.argv[1])
made = recipe.tiny(cfg=protocol.tiny(num_classes=len(clips.class_names)))
data = make_data(clips, made, protocol)
network = made.network()
(stage,) = made.stages
optimizer = make_optimizer(network, stage)
set_modes(network, stage)
generator = torch.Generator().manual_seed(0)
for step, batch in enumerate(batches(data.train, stage, seed=0, index=0, steps=range(20))):
    loss = stage.loss(network, batch.batch, StepContext(progress=step / 20, generator=generator))
    optimizer.zero_grad()
    loss["loss"].backward()
    optimizer.step()
    print(step, loss["loss"].item())
