"""What a fresh network is given before its first step: published weights, and names.

A recipe says both (``pretrained``, ``named``); what it does not say costs nothing here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from foveal.backbones import load_modules
from foveal.backbones.text import MODEL, sentence_encoder
from foveal.recipe import ClassNames, Recipe
from foveal.train.stage import is_below
from foveal.types import FovealError


class PrepareError(FovealError):
    """What a user gives to a fresh network, and what its recipe takes, do not go together."""

    kind = "pretrained"


def prepared(
    recipe: Recipe,
    *,
    class_names: Sequence[str],
    pretrained: str | None = None,
    text_model: str | os.PathLike[str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Callable[[nn.Module], None]:
    """Return what makes a fresh network of ``recipe`` ready for :func:`foveal.train.fit`.

    Args:
        recipe: made for the data set.
        class_names: of the data set, in the order of its labels.
        pretrained: where published weights are, see :func:`foveal.backbones.load_pretrained`;
            ``None`` begins without.
        text_model: the sentence encoder that reads names, see
            :func:`foveal.backbones.text.sentence_encoder`; loaded if the recipe reads any.
        tell: is given a line for each file of weights.

    Raises:
        PrepareError: the recipe has no use for what is given, or a part that no stage trains
            would keep its random weights.
    """
    if pretrained is not None and not recipe.pretrained:
        raise PrepareError(
            f"recipe {recipe.name!r} has no network that pretrained weights fit",
            hint="leave --pretrained out, or choose a recipe with one",
        )
    if text_model is not None and recipe.named is None:
        raise PrepareError(
            f"recipe {recipe.name!r} reads no class names",
            hint="leave --text-model out, or choose a recipe that does",
        )
    if pretrained is None and recipe.pretrained:
        _refuse_chance(recipe)
    model = MODEL if text_model is None else text_model
    names = ClassNames(classes=tuple(class_names), encoder=lambda: sentence_encoder(model))

    def prepare(network: nn.Module) -> None:
        if pretrained is not None:
            for loaded in load_modules(network, recipe.pretrained, source=pretrained).values():
                tell(str(loaded))
        if recipe.named is not None:
            recipe.named(network, names)

    return prepare


def _refuse_chance(recipe: Recipe) -> None:
    """Raise where published weights are left out that no stage could make up for."""
    with torch.device("meta"):
        network = recipe.network()
    learnt = [p for stage in recipe.stages for group in stage.trains for p in group.prefixes]
    for dotted, name in recipe.pretrained.items():
        own = [n for n, _ in network.named_parameters() if is_below(n, dotted)]
        if not any(_trained(n, learnt) for n in own):
            raise PrepareError(
                f"recipe {recipe.name!r} trains nothing of {dotted}, which needs the published "
                f"weights of {name}",
                hint="add --pretrained, or leave out what needs them with --set",
            )


def _trained(name: str, prefixes: Iterable[str]) -> bool:
    return any(is_below(name, prefix) for prefix in prefixes)
