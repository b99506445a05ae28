"""What a stage of a recipe does to a network: who learns, who stands still, and how fast."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from foveal.recipe import Group, Stage

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
"""Layers whose scales and shifts count as normalisation."""


def make_optimizer(network: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """Return the optimiser of ``stage``; only the parameters it names will get a gradient.

    Each parameter goes to the first group with a prefix for it.

    Raises:
        ValueError: a prefix names no parameter, or a group is left with none.
    """
    network.requires_grad_(False)
    network.zero_grad()  # what an earlier stage left
    left = dict(network.named_parameters())
    names = tuple(left)
    kinds = _kinds(network)
    groups = []
    for group in stage.trains:
        for prefix in group.prefixes:
            _check_prefix(prefix, names, what=f"parameter, in stage {stage.name!r}")
        taken = [n for n in left if any(is_below(n, p) for p in group.prefixes)]
        taken = [n for n in taken if group.only in ("all", kinds.get(n))]
        if not taken:
            raise ValueError(
                f"stage {stage.name!r}: nothing is left for the group {group.prefixes}; "
                "earlier groups took all of it"
            )
        parameters = [left.pop(name) for name in taken]
        for parameter in parameters:
            parameter.requires_grad_()
        groups.append(_parameter_group(group, parameters, stage))
    optimizer = stage.optimizer
    match optimizer.kind:
        case "sgd":
            return torch.optim.SGD(
                groups,
                lr=optimizer.lr,
                momentum=optimizer.momentum,
                nesterov=optimizer.nesterov,
            )
        case "adam":
            return torch.optim.Adam(groups, lr=optimizer.lr, betas=optimizer.betas)
        case "adamw":
            return torch.optim.AdamW(groups, lr=optimizer.lr, betas=optimizer.betas)


def _kinds(network: nn.Module) -> dict[str, str]:
    """Return which parameters are of normalisation layers, and which others are biases."""
    kinds = {}
    for path, module in network.named_modules():
        for leaf, _ in module.named_parameters(recurse=False):
            name = f"{path}.{leaf}" if path else leaf
            if isinstance(module, NORMS):
                kinds[name] = "norms"
            elif leaf == "bias" or leaf.startswith("bias_"):
                kinds[name] = "biases"
    return kinds


def _parameter_group(
    group: Group, parameters: list[nn.Parameter], stage: Stage
) -> dict[str, object]:
    decay = stage.optimizer.weight_decay if group.weight_decay is None else group.weight_decay
    return {"params": parameters, "weight_decay": decay, "lr_scale": group.lr_scale}


def set_modes(network: nn.Module, stage: Stage) -> None:
    """Put ``network`` in training mode, and the modules that ``stage`` freezes in eval mode.

    Raises:
        ValueError: a prefix names no module.
    """
    names = tuple(name for name, _ in network.named_modules())
    for prefix in stage.eval_modules:
        _check_prefix(prefix, names, what=f"module, in stage {stage.name!r}")
    network.train()
    for name, module in network.named_modules():
        if any(is_below(name, prefix) for prefix in stage.eval_modules):
            module.training = False


def learning_rate_factor(stage: Stage, step: int, *, num_steps: int, steps_per_epoch: int) -> float:
    """Return what the learning rates are multiplied with at ``step`` (from 0), in [0, 1].

    The first epoch (or step) of a cosine after the warm-up is at 1; none is at 0.
    """
    warmup = stage.warmup_steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    dropped = 0.1 ** sum(step >= round(drop * num_steps) for drop in stage.drops)
    if stage.schedule == "constant":
        return dropped
    done, total = step - warmup, num_steps - warmup
    if stage.schedule_every == "epoch":
        done, total = done // steps_per_epoch, math.ceil(total / steps_per_epoch)
    return dropped * 0.5 * (1 + math.cos(math.pi * done / total))


def is_below(name: str, prefix: str) -> bool:
    """Return whether ``prefix`` takes the module or parameter ``name``, as a group's does."""
    return prefix in ("", name) or name.startswith(f"{prefix}.")


def _check_prefix(prefix: str, names: Iterable[str], *, what: str) -> None:
    if any(is_below(name, prefix) for name in names):
        return
    known = {
        ".".join(name.split(".")[:depth])
        for name in names
        for depth in range(1, name.count(".") + 2)
    }
    near = difflib.get_close_matches(prefix, sorted(known - {""}), n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "no name is similar"
    raise ValueError(f"prefix {prefix!r} names no {what}; {hint}")
