"""What the networks cost, against the official ones and against attention between all cells."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from foveal.cost.torch_counter import count_torch_macs
from foveal.export import count_part, export_part
from foveal.systems.ean import protocol
from foveal.systems.ean.model import Network, SparseTransformer, TransformerLayer, build
from foveal.systems.ean.protocol import PART, Config


def macs_of(cfg: Config) -> int:
    """Return the multiply-accumulates of one clip, counted without memory."""
    (spec,) = protocol.parts(cfg)
    with torch.device("meta"):
        part = build(Network(cfg), cfg)[PART]
        frames = torch.zeros(1, *spec.inputs[0].shape, dtype=torch.uint8)
    return count_torch_macs(part, frames)


@pytest.mark.parametrize(
    ("cfg", "gmacs", "params"),
    [(protocol.paper(), 37.1, 37.1e6), (protocol.paper_16(), 75.3, 37.3e6)],
    ids=["8", "16"],
)
def test_the_paper_s_networks_cost_what_the_official_ones_do(cfg, gmacs, params):
    assert macs_of(cfg) / 1e9 == pytest.approx(gmacs, rel=0.01)
    with torch.device("meta"):
        found = sum(p.numel() for p in Network(cfg).parameters())
    assert found == pytest.approx(params, rel=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("make", [protocol.paper, protocol.paper_16])
def test_the_exported_networks_cost_the_same(make):
    cfg = make()
    (spec,) = protocol.parts(cfg)
    with torch.no_grad():
        model = export_part(build(Network(cfg), cfg)[PART], spec)
    assert count_part(model, spec)[()] == pytest.approx(macs_of(cfg), rel=0.001)


@pytest.mark.parametrize(
    ("off", "gmacs"),
    [({"adaptive": False}, 2.27), ({"motion": "off"}, 1.17), ({"transformer": False}, 0.79)],
    ids=["adaptive", "motion", "transformer"],
)
def test_each_part_costs_its_share(off, gmacs):
    cfg = protocol.paper()
    assert (macs_of(cfg) - macs_of(replace(cfg, **off))) / 1e9 == pytest.approx(gmacs, rel=0.01)


def test_the_tiny_network_stays_within_the_budget_of_its_claim():
    cfg = protocol.tiny()
    plain = replace(cfg, adaptive=False, motion="off", transformer=False)
    assert macs_of(cfg) <= 1.3 * macs_of(plain)


def test_objects_are_fewer_than_cells_and_attention_is_so_much_cheaper():
    cfg = protocol.paper()
    with torch.device("meta"):
        made = SparseTransformer(
            cfg.shape.features,
            width=cfg.object_width,
            score_width=cfg.score_width,
            num_objects=cfg.num_objects,
            num_cells=cfg.num_segments * 49,
            heads=cfg.num_heads,
            layers=cfg.num_layers,
        ).eval()
        squeezed = torch.zeros(1, cfg.object_width, cfg.num_segments, 7, 7)
        tokens = made.tokens(squeezed, made.object_maps(squeezed))
        assert tokens.shape == (1, 4 * cfg.num_segments, cfg.object_width)
        dense = torch.zeros(1, 49 * cfg.num_segments, cfg.object_width)
        layer = TransformerLayer(cfg.object_width, heads=cfg.num_heads)
        few, all_cells = (count_torch_macs(layer, x) for x in (tokens.detach(), dense))
    d, linear = cfg.object_width, 7  # queries, keys, values, output and three layers
    for macs, n in ((few, 32), (all_cells, 392)):
        assert macs == n * linear * d * d + 2 * n * n * d
    assert all_cells / few == pytest.approx(14.6, abs=0.1)


@pytest.mark.parametrize(
    "off",
    [{}, {"adaptive": False}, {"motion": "off"}, {"transformer": False}, {"motion": "stacked"}],
    ids=str,
)
def test_what_is_switched_off_is_not_there_and_the_rest_runs(off):
    cfg = replace(protocol.tiny(), **off)
    network = Network(cfg).train()
    assert bool(len(network.adaptive)) == cfg.adaptive
    assert (network.motion is not None) == (cfg.motion != "off")
    assert (network.stack is not None) == (cfg.motion == "stacked")
    assert (network.transformer is not None) == cfg.transformer
    frames = torch.randint(0, 256, (2, 4 * cfg.burst, 3, 64, 64), dtype=torch.uint8)
    said = network(frames)
    assert (said.maps is None) == (not cfg.transformer)
    nn.functional.cross_entropy(said.logits, torch.tensor([0, 1])).backward()
    idle = {name for name, p in network.named_parameters() if p.grad is None}
    assert idle == set()
