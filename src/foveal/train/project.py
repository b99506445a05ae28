"""From a data set and the name of a system to a run: what is trained, on what, and why.

Letters: T frames, K classes.
"""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from types import ModuleType
from typing import Any

from foveal.dataset import Dataset, Kind, open_sample
from foveal.recipe import Recipe
from foveal.sampling.protocol import Steps
from foveal.systems.index import System
from foveal.tasks.trainable import find_trainable, trainable
from foveal.train.cache import Clip, FrameCache
from foveal.train.clips import ClipData
from foveal.train.settings import SettingError, configure, known_names, unknown_setting
from foveal.types import Array, Canvas, ClipInfo, FovealError, Plan

PROBED = 48
"""Clips whose length is looked up to know what the others are like."""

LONG_SECONDS = 8.0
"""Clips of this length and more are likely to show what they are about in a part of them only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which recipe of which system, and why that one.

    Args:
        row: of the system.
        recipe_name: as in its table of recipes.
        why: one line for the user.
    """

    row: System
    recipe_name: str
    why: str

    @property
    def protocol(self) -> ModuleType:
        """The system's protocol."""
        return importlib.import_module(f"{self.row.module}.protocol")

    @property
    def recipes(self) -> Mapping[str, Callable[..., Recipe]]:
        """The system's recipes by name."""
        module = importlib.import_module(f"{self.row.module}.recipe")
        found: Mapping[str, Callable[..., Recipe]] = module.RECIPES
        return found

    @property
    def make(self) -> Callable[..., Recipe]:
        """The recipe that is meant.

        Raises:
            SettingError: the system has none of that name.
        """
        known = self.recipes
        if self.recipe_name not in known:
            near = get_close_matches(self.recipe_name, known, n=1)
            raise SettingError(
                f"{self.row.name} has no recipe {self.recipe_name!r}",
                hint=f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}",
            )
        return known[self.recipe_name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """What the clips of a set are like, by a few of them.

    Args:
        seconds: median length.
        frames: mean number of frames.
    """

    seconds: float
    frames: float


def likeness(dataset: Dataset) -> Likeness | None:
    """Return what the clips are like; nothing if none of those looked at can be opened."""
    samples = dataset.samples["train"]
    infos: list[ClipInfo] = []
    for one in samples[:: max(len(samples) // PROBED, 1)]:
        try:
            source = open_sample(one, kind=dataset.kind, threads=1)
        except FovealError:
            continue  # training meets it again, and says so
        infos.append(source.info)
        source.close()
    if not infos:
        return None
    counts = [i.num_frames or i.duration_seconds * (i.fps or 25.0) for i in infos]
    return Likeness(
        seconds=statistics.median(i.duration_seconds for i in infos),
        frames=statistics.fmean(counts),
    )


def choose(
    kind: Kind,
    like: Likeness | None,
    *,
    system: str | None,
    recipe: str | None,
    pretrained: bool = False,
    several: bool = False,
) -> Choice:
    """Return what is trained: what was asked for, or what suits the clips.

    Args:
        kind: of the data to learn from.
        like: what its clips are like, if any could be opened.
        system: as asked for.
        recipe: as asked for.
        pretrained: whether it is to begin with published weights.
        several: whether clips may show several classes.

    Raises:
        NoSystemError: there is no such system, or it cannot be trained, or not on such clips.
        SettingError: none of its small recipes begins with published weights.
    """
    if system is None:
        names = {row.name for row in trainable() if row.several_labels or not several}
        suiting = _suiting(kind, like, pretrained=pretrained)
        name, why = next((name, why) for name, why in suiting if name in names)
    else:
        name, why = system, "asked for"
    default = "features" if kind == "features" else "lite" if pretrained else "small"
    if recipe is None:
        why += f"; its recipe {default!r} is made for a CPU and small sets"
    row = find_trainable(name, several=several)
    choice = Choice(row=row, recipe_name=recipe or default, why=why)
    if recipe is None and pretrained and default not in choice.recipes:
        fit = [known for known, make in choice.recipes.items() if make().pretrained]
        raise SettingError(
            f"{name} has no small recipe that published weights fit",
            hint=f"leave --pretrained out, or name a recipe ({', '.join(fit) or 'there is none'})",
        )
    return choice


def _suiting(kind: Kind, like: Likeness | None, *, pretrained: bool) -> tuple[tuple[str, str], ...]:
    """Return the names of systems that suit, the best first, and why each does."""
    if kind == "features":
        return (("baselines", "stored features are classified by one layer"),)
    plain = ("baselines", "frames at equal distances, each classified alone")
    if pretrained:
        return (("baselines", "its recipe has a small network that published weights fit"),)
    if like is not None and like.seconds >= LONG_SECONDS:
        length = f"clips last {like.seconds:.0f} s (median)"
        which = ("ocsampler", f"{length}, so it learns which frames matter")
        return (which, ("nsnet", which[1]), plain)
    length = "of unknown length" if like is None else f"short, {like.seconds:.1f} s (median)"
    return (("adafocus_v2", f"clips are {length}, so it learns where in each to look"), plain)


def check_asked(
    kinds: Sequence[Kind],
    *,
    system: str | None,
    recipe: str | None,
    pretrained: bool,
    settings: Mapping[str, Any],
) -> None:
    """Ask what can be known before data are read: that some choice takes recipe and settings.

    Args:
        kinds: what the data may turn out to be.
        system: as asked for.
        recipe: as asked for.
        pretrained: whether it is to begin with published weights.
        settings: values by name.

    Raises:
        SettingError: whatever the data are, there is no such recipe or setting, or it is refused.
    """
    made: dict[str, Callable[..., Recipe]] = {}
    refused: list[SettingError] = []
    for kind in kinds:
        for like in (None, Likeness(seconds=LONG_SECONDS, frames=1.0)):
            try:
                choice = choose(kind, like, system=system, recipe=recipe, pretrained=pretrained)
                made[f"{choice.row.name} {choice.recipe_name}"] = choice.make
            except SettingError as error:
                refused.append(error)
    if not made:
        raise refused[0]
    known = {name: known_names(make, make()) for name, make in made.items()}
    for key in settings:
        if not any(key in names for names in known.values()):
            raise unknown_setting(
                key,
                [name for names in known.values() for name in names.all()],
                value=settings[key],
                kinds=[type(make().config) for make in made.values()],
            )
    problems: dict[str, SettingError] = {}
    for name, make in made.items():
        try:
            configure(make, num_classes=ANY_CLASSES, num_samples=MANY, settings=settings)
        except SettingError as error:
            problems[name] = error
    if len(problems) == len(made):  # told as the choice puts it that knows most of what is set
        raise problems[max(problems, key=lambda name: sum(key in known[name] for key in settings))]


ANY_CLASSES, MANY = 2, 10**9
"""A number of classes and of clips that no setting can be at odds with."""


def planned_times(
    steps: Callable[[Any, Mapping[str, Array], ClipInfo], Steps], cfg: object, clip: ClipInfo
) -> tuple[float, ...]:
    """Return the times a protocol plans to look at in ``clip``."""
    first = next(steps(cfg, {}, clip))
    assert isinstance(first, Plan)  # docs/protocol.md asks it of every system that is trained
    return first.times


@dataclass(frozen=True, slots=True, kw_only=True)
class RunData:
    """What a run trains on, and what it is judged on while it does."""

    train: ClipData
    validation: ClipData | None


def make_data(
    dataset: Dataset, recipe: Recipe, protocol: ModuleType, *, cache: FrameCache | None = None
) -> RunData:
    """Return the clips of ``dataset`` as ``recipe`` draws them, and as ``protocol`` plans them.

    Args:
        dataset: labelled clips.
        recipe: made for its number of classes.
        protocol: module of the recipe's system.
        cache: of decoded frames; without one clips are decoded each time they are drawn.
    """
    config: Any = recipe.config
    several = len(dataset.class_names) if dataset.several else None
    train = ClipData(
        dataset.samples["train"],
        kind=dataset.kind,
        draws=recipe.draws,
        heard=recipe.heard,
        augment=recipe.augment,
        cache=cache,
        several=several,
    )
    samples = dataset.samples["validation"]
    if not samples:
        return RunData(train=train, validation=None)
    validation = ClipData(
        samples,
        kind=dataset.kind,
        planned=partial(planned_times, protocol.steps, config),
        views={"frames": config.canvas, **recipe.judged},
        heard=recipe.heard,
        cache=cache,
        several=several,
    )
    return RunData(train=train, validation=validation)


def clips_to_cache(dataset: Dataset, recipe: Recipe) -> list[Clip]:
    """Return what of ``dataset`` is decoded while it is trained and judged on, each once."""
    config: Any = recipe.config
    uses = (
        (dataset.samples["train"], [draw.view for draw in recipe.draws]),
        (dataset.samples["validation"], [config.canvas, *recipe.judged.values()]),
    )
    return [
        (one.path, view, (one.start_seconds, one.end_seconds))
        for samples, views in uses
        for view in dict.fromkeys(views)
        if isinstance(view, Canvas)
        for one in samples
    ]


def cache_bytes(clips: Sequence[Clip], like: Likeness) -> float:
    """Return about how much room the decoded frames of ``clips`` take."""
    return like.frames * sum(3 * view.height * view.width for _, view, _ in clips)
