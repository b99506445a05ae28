"""What a recipe says, and the stages that more than one system shares.

Example:
    >>> from foveal.recipe import Group, Optimizer, Stage, last_logits
    >>> stage = Stage(
    ...     name="classifier",
    ...     loss=lambda network, batch, context: {"loss": last_logits(network, batch).mean()},
    ...     trains=(Group(prefixes=("",)),),
    ...     optimizer=Optimizer(kind="adamw", lr=1e-3),
    ...     batch_size=16,
    ...     steps=100,
    ... )
    >>> stage.schedule
    'cosine'
"""

from foveal.recipe.stages import (
    Augment,
    Batch,
    Draw,
    Group,
    Heard,
    Judge,
    Loss,
    Optimizer,
    Recipe,
    Stage,
    StepContext,
    last_logits,
)

__all__ = [
    "Augment",
    "Batch",
    "Draw",
    "Group",
    "Heard",
    "Judge",
    "Loss",
    "Optimizer",
    "Recipe",
    "Stage",
    "StepContext",
    "last_logits",
]
