"""EAN's networks against the official ones, whole: the same weights and clips, the same logits.

    python benchmarks/official_ean.py --official FOLDER    # results/ean/official.json

``FOLDER`` is a checkout of tianyuan168326/EAN-Pytorch (commit 5d846a5); it stays outside this
repository, and none of its files is changed. It needs ``einops``.

Both sizes, 224 px, 7 classes. The official network is filled at random: statistics and scales of
normalisation as if it had learnt, the learnable shifts too, and what starts small is made thirty
times larger, so that no branch is too weak to be seen. Its state is mapped by ``weights.py``. Two
clips of random pixels go through both, one at a time, in evaluation mode and float32. Reported are
the largest difference of a logit over the spread of the official logits, and the multiply-
accumulates that PyTorch counts in each: the official count misses nothing here, since per-clip
kernels are grouped convolutions there.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foveal.cost.torch_counter import count_torch_macs
from foveal.results import write_result
from foveal.systems.ean import protocol
from foveal.systems.ean.model import make_network
from foveal.systems.ean.protocol import Config
from foveal.systems.ean.weights import convert

SIZES = {
    "EAN_8f": protocol.paper(num_classes=7),
    "EAN_16f": protocol.paper_16(num_classes=7),
}
CLIPS = 2


class Official(nn.Module):
    """The official network with the head that its training script puts behind it."""

    def __init__(self, file: str, cfg: Config) -> None:
        super().__init__()
        module: Any = importlib.import_module(file)
        block = module.Bottleneck
        self.base_model = module.ResNet(
            block, block, [3, 4, 6, 3], num_segments=cfg.num_segments, flow_estimation=0
        )
        self.base_model.fc = nn.Identity()
        self.new_fc = nn.Linear(2048, cfg.num_classes)

    def forward(self, frames: Tensor) -> Tensor:
        """Return (B,K) of normalised frames (B*N*5,3,H,W)."""
        logits: Tensor = self.new_fc(self.base_model(frames)[0])
        return logits


def filled(network: nn.Module) -> nn.Module:
    """Fill the official network, in place."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(layer.weight, 0.5, 1.0)
            nn.init.normal_(layer.bias, std=0.1)
            layer.running_mean.normal_(std=0.1)
            layer.running_var.uniform_(0.7, 1.3)
        elif isinstance(layer, nn.Conv1d):
            nn.init.normal_(layer.weight, std=0.4)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "expand_c1" in name or "proj_back" in name:
                parameter.mul_(30)
    return network.eval()


@torch.no_grad()
def compare(file: str, cfg: Config) -> dict[str, float]:
    """Return how far the logits are apart, and what each network costs."""
    torch.manual_seed(0)
    official = filled(Official(file, cfg))
    ours = make_network(cfg).eval()
    ours.load_state_dict(convert(official.state_dict(), cfg))
    shape = (CLIPS, cfg.num_segments * 5, 3, 224, 224)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8)
    pairs = [(official(ours.normalise(one)), ours(one[None]).logits) for one in frames]
    theirs, mine = (torch.cat(logits) for logits in zip(*pairs, strict=True))
    apart = float((theirs - mine).abs().max() / theirs.std())
    return {
        "largest_difference_over_spread": apart,
        "official_gmacs": count_torch_macs(official, ours.normalise(frames[0])) / 1e9,
        "gmacs": count_torch_macs(ours, frames[:1]) / 1e9,
    }


def main() -> None:
    """Compare both sizes and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--official", type=Path, required=True)
    sys.path.insert(0, str(parser.parse_args().official))
    warnings.simplefilter("ignore")  # its resampling call is deprecated
    torch.set_num_threads(1)
    measured = {file: compare(file, cfg) for file, cfg in SIZES.items()}
    print(measured, file=sys.stderr)
    write_result(
        "results/ean/official.json",
        title="EAN: the official networks and ours on the same weights and clips",
        protocol=" ".join((__doc__ or "").split()),
        seeds=(0,),
        threads=1,
        measured=measured,
    )


if __name__ == "__main__":
    main()
