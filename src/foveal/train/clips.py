"""A data set of videos as what the loop trains on. Letters: B samples, T frames, K classes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from foveal.dataset import Kind, Sample, open_sample
from foveal.recipe import Augment, Batch, Draw, Heard
from foveal.sampling.choose import segment_bursts, segment_centres
from foveal.train.cache import CacheError, FrameCache
from foveal.train.checkpoint import TrainError
from foveal.train.data import Trouble, stack
from foveal.types import (
    Array,
    Canvas,
    ClipInfo,
    Features,
    FovealError,
    Look,
    Plan,
    Sound,
    Source,
)

_ATTEMPTS = 20
"""Clips drawn in the place of one that cannot be read, before the run gives up."""

_NOTHING: Mapping[str, Canvas | Features] = {}
_SILENCE: Mapping[str, Heard] = {}

Planned = Callable[[ClipInfo], tuple[float, ...]]
"""What is known of a clip to the times a protocol plans to look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Pictures or sound of a clip under one name."""

    name: str
    view: Canvas | Features | Sound
    times: tuple[float, ...]


class ClipData:
    """Videos, frame folders or stored features, by index.

    Args:
        samples: N of them.
        kind: what they are.
        draws: what is drawn of each clip for training, one frame from each of T equal parts.
        planned: for judging instead: the times the protocol plans, and ``views`` go with it.
        views: what is seen at the planned times, by name.
        heard: of the sound, by name; it is decoded at each draw, also where frames are cached.
        augment: what is done to a sample.
        cache: of decoded frames; without one a clip is decoded each time it is drawn.
        several: K, where clips may show several classes: labels are float32 (B,K) then.

    Raises:
        ValueError: there is no sample, or neither draws nor planned times, or both.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        kind: Kind,
        draws: tuple[Draw, ...] = (),
        planned: Planned | None = None,
        views: Mapping[str, Canvas | Features] = _NOTHING,
        heard: Mapping[str, Heard] = _SILENCE,
        augment: Augment | None = None,
        cache: FrameCache | None = None,
        several: int | None = None,
    ) -> None:
        if not samples:
            raise ValueError("there is no sample")
        if bool(draws) == (planned is not None) or (planned is not None) != bool(views):
            raise ValueError("give draws to train on, or planned times and views to judge with")
        self.samples = tuple(samples)
        self.kind = kind
        self.draws = draws
        self.planned = planned
        self.views = dict(views)
        self.heard = dict(heard)
        self.augment = augment
        self.cache = cache
        self.several = several
        self._troubles: list[Trouble] = []
        self._broken: set[int] = set()
        self._infos: dict[int, ClipInfo] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def troubles(self) -> Sequence[Trouble]:
        """Return what could not be read since this was last asked."""
        told, self._troubles = self._troubles, []
        return told

    def fingerprint(self) -> str:
        """Return a hash of paths, stretches and labels, in their order."""
        told = hashlib.sha256()
        for one in self.samples:
            label = one.label if self.several is None else sorted(one.labels)
            row = (one.path, label, one.start_seconds, one.end_seconds, one.row)
            told.update(repr(row).encode("utf-8", "surrogateescape"))
        return told.hexdigest()[:16]

    def batch(self, indices: Array, seeds: Array) -> Batch:
        """Return the samples at ``indices``: what the draws say, ``label`` and ``number``.

        While training, another clip drawn by the seed takes the place of one that cannot be
        read; when judging, it is left out.

        Raises:
            TrainError: so many clips in a row cannot be read that none is left to take a place.
        """
        made: list[Batch] = []
        for index, seed in zip(indices, seeds, strict=True):
            if self.planned is not None:
                sample = self._sample(int(index), int(seed))
                made.extend([] if sample is None else [sample])
            else:
                made.append(self._sample_or_other(int(index), int(seed)))
        if not made:
            return {"label": self._label(())[None][:0]}
        return stack(made)

    def _sample_or_other(self, index: int, seed: int) -> Batch:
        # Drawn apart from what is drawn for a clip: which other clip comes must not depend on
        # whether this process knew already that one is broken.
        others = torch.Generator().manual_seed(seed ^ 1)
        for _ in range(_ATTEMPTS):
            sample = self._sample(index, seed)
            if sample is not None:
                return sample
            index = int(torch.randint(len(self), (), generator=others))
        raise TrainError(
            f"{_ATTEMPTS} clips in a row cannot be read, {self.samples[index].path} the last",
            hint="run foveal doctor on them",
        )

    def _sample(self, index: int, seed: int) -> Batch | None:
        if index in self._broken:
            return None
        one = self.samples[index]
        drawn = torch.Generator().manual_seed(seed)
        try:
            pictures = self._pictures(index, one, drawn)
        except CacheError:
            raise  # nothing is wrong with the clip
        except FovealError as error:
            self._broken.add(index)
            self._troubles.append(
                Trouble(path=one.path, kind=error.kind, message=error.message, hint=error.hint)
            )
            return None
        label, number = self._label(one.labels), torch.tensor(index)
        sample: Batch = {**pictures, "label": label, "number": number}
        return sample if self.augment is None else self.augment(sample, drawn)

    def _label(self, labels: tuple[int, ...]) -> torch.Tensor:
        """Return what a batch holds of the classes a clip shows: int64 (), or float32 (K,)."""
        if self.several is None:
            return torch.tensor(labels[0] if labels else 0)
        label = torch.zeros(self.several)
        label[list(labels)] = 1
        return label

    def _pictures(
        self, index: int, one: Sample, drawn: torch.Generator
    ) -> Mapping[str, torch.Tensor]:
        wanted: tuple[Wanted, ...] | None = None
        if self.cache is not None and self.kind == "video":
            wanted = self._wanted(self._info(index, one), drawn)
            found = _stored(one, wanted, self.cache)
            if found is not None:
                return {**found, **self._sound(one, wanted)}
        source = open_sample(one, kind=self.kind, threads=1)
        try:
            wanted = wanted or self._wanted(source.info, drawn)
            return {**_look(source, wanted), **_listen(source, self.heard, wanted)}
        finally:
            source.close()

    def _sound(self, one: Sample, wanted: Sequence[Wanted]) -> Mapping[str, torch.Tensor]:
        """Return what is heard of a clip whose pictures came from the cache."""
        if not self.heard:
            return {}
        source = open_sample(one, kind=self.kind, threads=1)
        try:
            return _listen(source, self.heard, wanted)
        finally:
            source.close()

    def _info(self, index: int, one: Sample) -> ClipInfo:
        """Return what is known of a clip, which is opened for that once."""
        info = self._infos.get(index)
        if info is None:
            source = open_sample(one, kind=self.kind, threads=1)
            try:
                info = replace(source.info, keyframe_seconds=None)  # long, and nobody asks
            finally:
                source.close()
            self._infos[index] = info
        return info

    def _wanted(self, info: ClipInfo, drawn: torch.Generator) -> tuple[Wanted, ...]:
        if self.planned is not None:
            times = self.planned(info)
            return tuple(Wanted(name=n, view=v, times=times) for n, v in self.views.items())
        return tuple(
            Wanted(
                name=draw.name,
                view=draw.view,
                times=times_of(draw, info, drawn),
            )
            for draw in self.draws
        )


def times_of(draw: Draw, info: ClipInfo, drawn: torch.Generator) -> tuple[float, ...]:
    """Return the times of one frame, or one burst of frames, from each of equal parts of a clip."""
    if draw.burst == 1:
        return drawn_times(info.duration_seconds, draw.num_frames, drawn)
    segments = draw.num_frames // draw.burst
    places = torch.rand(segments, generator=drawn, dtype=torch.float64).tolist()
    return segment_bursts(info, num_segments=segments, length=draw.burst, places=places)


def drawn_times(
    duration_seconds: float, num_frames: int, drawn: torch.Generator
) -> tuple[float, ...]:
    """Return one time from each of as many equal parts of a clip, ascending."""
    offsets = torch.rand(num_frames, generator=drawn, dtype=torch.float64).numpy() - 0.5
    centres = np.array(segment_centres(duration_seconds, num_frames))
    return tuple(float(t) for t in centres + offsets * duration_seconds / num_frames)


def _stored(
    one: Sample, wanted: Sequence[Wanted], cache: FrameCache
) -> Mapping[str, torch.Tensor] | None:
    """Return what is wanted from stored frames; nothing where frames cannot be stored."""
    pictures: dict[str, torch.Tensor] = {}
    for want in wanted:
        assert isinstance(want.view, Canvas)  # a video holds no stored features
        frames = cache.frames(one.path, want.view, stretch=(one.start_seconds, one.end_seconds))
        if frames is None:
            return None
        pictures[want.name] = torch.from_numpy(frames.at(np.array(want.times)))
    return pictures


def _look(source: Source, wanted: Sequence[Wanted]) -> Mapping[str, torch.Tensor]:
    source.plan(Plan(times=tuple(t for want in wanted for t in want.times)))
    return {
        want.name: torch.from_numpy(
            np.ascontiguousarray(source.look(Look(times=want.times, view=want.view))[0])
        )
        for want in wanted
    }


def _listen(
    source: Source, heard: Mapping[str, Heard], wanted: Sequence[Wanted]
) -> Mapping[str, torch.Tensor]:
    """Return the windows of sound (S,samples) at the times of the first pictures of ``wanted``."""
    windows: dict[str, torch.Tensor] = {}
    for name, each in heard.items():
        times = wanted[0].times[each.first :: each.every]
        if source.info.has_sound:
            (one,) = _look(source, (Wanted(name=name, view=each.view, times=times),)).values()
        else:
            one = torch.zeros(len(times), each.view.num_samples)
        windows[name] = one
    return windows
