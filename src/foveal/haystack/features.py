"""The feature-level form of a task: noisy embeddings with the ground truth of the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from foveal.haystack.draws import Draws, Floats, Integers
from foveal.haystack.preset import MODALITY, FeatureView, Preset, Split
from foveal.haystack.scene import Scene
from foveal.haystack.sets import Truth, plan, truth_of

WORD_SIZE = 16
"""Numbers in a word vector."""

_OBJECTS_OF_CLASS = 2
_OBJECT_LOGIT = 4.0
"""How far the objects of a class stand out where it is shown; the noise has variance 1."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureSet:
    """N samples of a task as embeddings.

    Args:
        preset: the task.
        views: float32 (N,T,D) by name: the vector of the class shown, of length 1 at full
            contrast, plus noise; noise alone where nothing is shown that the view carries.
        labels: int64 (N,), those of the pixels.
        truth: that of the pixels.
        objects: float32 (N,T,O), the probability of each object by a detector; ``None`` where
            the preset names none.
        object_words: float32 (O, WORD_SIZE), a unit vector for the name of each object.
        class_words: float32 (K, WORD_SIZE), for the name of each class: near its objects.
    """

    preset: Preset
    views: Mapping[str, Floats]
    labels: Integers
    truth: Truth
    objects: Floats | None
    object_words: Floats
    class_words: Floats


def features(
    preset: Preset, *, split: Split, count: int, start: int = 0, seed: int = 0
) -> FeatureSet:
    """Return the feature-level form of the samples that :func:`sample` returns.

    Raises:
        ValueError: the preset has no feature-level form; or as :func:`sample` says.
    """
    if not preset.views:
        raise ValueError(f"{preset.name} has no feature-level form: its preset lists no views")
    draws, scene = plan(preset, split=split, count=count, start=start, seed=seed)
    object_words, class_words = _words(preset)
    return FeatureSet(
        preset=preset,
        views={
            view.name: np.repeat(_embedded(preset, view, draws, scene), preset.repeat, axis=1)
            for view in preset.views
        },
        labels=scene.labels,
        truth=truth_of(preset, scene),
        objects=_objects(preset, draws, scene) if preset.num_objects else None,
        object_words=object_words,
        class_words=class_words,
    )


def class_vectors(preset: Preset, view: FeatureView) -> Floats:
    """Return float32 (K, D): what ``view`` shows of each class, 0 where it does not carry it."""
    drawn = Draws.of(preset.name, "vectors", view.name, count=preset.num_classes)
    vectors = _unit(drawn.normal("vector", view.size))
    carried = np.array([MODALITY[cue] in view.carries for cue in preset.cues])
    return np.asarray(vectors * carried[:, None], np.float32)


def _embedded(preset: Preset, view: FeatureView, draws: Draws, scene: Scene) -> Floats:
    strength = scene.contrast / preset.contrast[1]
    vectors = class_vectors(preset, view)[np.maximum(scene.shown, 0)]
    shown = np.where(scene.shown >= 0, strength, 0)
    noise = draws.normal(f"features/{view.name}", scene.shown.shape[1], view.size)
    return np.asarray(shown[..., None] * vectors + view.noise * noise, np.float32)


def _objects(preset: Preset, draws: Draws, scene: Scene) -> Floats:
    """Return (N,T,O): softmax of noise, plus the objects of the class that is shown."""
    of_class = _objects_of_class(preset)[np.maximum(scene.shown, 0)]
    shown = np.where(scene.shown >= 0, scene.contrast / preset.contrast[1], 0)
    logits = draws.normal("objects", scene.shown.shape[1], preset.num_objects)
    logits = logits + _OBJECT_LOGIT * shown[..., None] * of_class
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs = odds / odds.sum(axis=-1, keepdims=True)
    return np.repeat(np.asarray(probs, np.float32), preset.repeat, axis=1)


def _objects_of_class(preset: Preset) -> Floats:
    """Return (K, O): 1 for the objects that go with a class."""
    goes_with = np.zeros((preset.num_classes, preset.num_objects), np.float32)
    for label in range(preset.num_classes if preset.num_objects else 0):
        for number in range(_OBJECTS_OF_CLASS):
            goes_with[label, (_OBJECTS_OF_CLASS * label + number) % preset.num_objects] = 1
    return goes_with


def _words(preset: Preset) -> tuple[Floats, Floats]:
    """Return word vectors of the objects and of the classes."""
    draws = Draws.of(preset.name, "words", count=max(preset.num_objects, preset.num_classes))
    object_words = _unit(draws.normal("object", WORD_SIZE))[: preset.num_objects]
    own = draws.normal("class", WORD_SIZE)[: preset.num_classes]
    class_words = _unit(_objects_of_class(preset) @ object_words + 0.1 * own)
    return object_words, class_words


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)
