"""Batches for training: this project's loader beside torchcodec in a plain DataLoader.

    python benchmarks/loading.py --data FOLDER   # writes results/benchmarks/loading.json

Both sides give the same batches: 16 clips, 8 frames each, one from each of 8 equal parts of the
clip at the same drawn times, as uint8 (16,8,3,112,112), from the same files in the same order, with
the same number of worker processes and no augmentation. The other side is what its documentation
shows: a ``Dataset`` that opens a ``VideoDecoder`` (approximate seeking, which does not scan the
file; and exact seeking, the default), asks for the frames played at the times and scales them while
decoding, in a ``torch.utils.data.DataLoader`` of batches. Ours is ``ClipData`` through
``foveal.train.batches``: once decoding at every draw, and once with its frames kept on disk (filled
before the clock starts; how long that took is told too).

Sets: ``weizmann`` (MPEG-4 in AVI, 180x144) and ``skateboard`` (H.264, 240 px) below the folder,
listed by ``foveal.dataset``. Rounds are interleaved: an epoch of every contender a round, at
least five rounds after one of warm-up; the figure is the median of images a second. A contender's
pictures are compared with ours: the mean difference is told (scalers differ).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from foveal.dataset import Sample, read_dataset
from foveal.recipe import Draw, Group, Optimizer, Stage
from foveal.results import write_result
from foveal.sampling.choose import segment_centres
from foveal.train import ClipData, FrameCache
from foveal.train.batches import ORDER, SAMPLES, batches, generator
from foveal.types import Canvas

BATCH, FRAMES, SIDE = 16, 8, 112
ROUNDS = 5
STAGE = Stage(
    name="loading",
    loss=lambda *_: {},
    trains=(Group(prefixes=("",)),),
    optimizer=Optimizer(kind="sgd", lr=1.0),
    batch_size=BATCH,
    epochs=1,
)
Epoch = Callable[[int, int], Iterator[Tensor]]
"""Seed and number of workers to the pictures of every batch of an epoch."""


def ours(samples: list[Sample], cache: FrameCache | None) -> Epoch:
    """Return our loader."""
    draw = Draw(num_frames=FRAMES, view=Canvas(height=SIDE, width=SIDE))
    data = ClipData(samples, kind="video", draws=(draw,), cache=cache)

    def epoch(seed: int, workers: int) -> Iterator[Tensor]:
        steps = range(len(samples) // BATCH)
        for made in batches(data, STAGE, seed=seed, index=0, steps=steps, workers=workers):
            if made.error is not None or made.troubles:
                raise RuntimeError(f"{made.error}, {made.troubles}")
            yield made.batch["frames"]

    return epoch


class PlainBatches(Dataset[Tensor]):
    """Batches as torchcodec's documentation would have them, at the times that ours draws."""

    def __init__(self, samples: list[Sample], *, seed: int, seek_mode: str) -> None:
        self.paths = [one.path for one in samples]
        self.order = torch.randperm(len(samples), generator=generator(seed, 0, 0, ORDER)).numpy()
        self.seed = seed
        self.seek_mode = seek_mode

    def __len__(self) -> int:
        return len(self.paths) // BATCH

    def __getitem__(self, step: int) -> Tensor:
        from torchcodec.decoders import VideoDecoder
        from torchcodec.transforms import Resize

        drawn = generator(self.seed, 0, step, SAMPLES)
        seeds = torch.randint(2**62, (BATCH,), generator=drawn).tolist()
        clips = []
        chosen = self.order[step * BATCH : (step + 1) * BATCH]
        for index, seed in zip(chosen, seeds, strict=True):
            decoder = VideoDecoder(
                self.paths[index],
                num_ffmpeg_threads=1,
                seek_mode=self.seek_mode,
                transforms=[Resize((SIDE, SIDE))],
            )
            meta = decoder.metadata
            begin, end = meta.begin_stream_seconds or 0.0, meta.end_stream_seconds
            if end is None:
                end = begin + float(meta.duration_seconds or 0.0)
            length = end - begin
            offsets = torch.rand(
                FRAMES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
            )
            times = torch.tensor(segment_centres(length, FRAMES), dtype=torch.float64)
            times = begin + times + (offsets - 0.5) * length / FRAMES
            clips.append(decoder.get_frames_played_at(times.clamp(max=end - 1e-4)).data)
        return torch.stack(clips)


def plain(samples: list[Sample], seek_mode: str) -> Epoch:
    """Return the other loader."""

    def epoch(seed: int, workers: int) -> Iterator[Tensor]:
        data = PlainBatches(samples, seed=seed, seek_mode=seek_mode)
        yield from DataLoader(
            data, batch_size=None, num_workers=workers, prefetch_factor=2 if workers else None
        )

    return epoch


def seconds_of(epoch: Epoch, seed: int, workers: int) -> tuple[float, int]:
    """Return how long an epoch takes, and how many pictures it gives."""
    began = time.perf_counter()
    pictures = sum(batch.shape[0] * batch.shape[1] for batch in epoch(seed, workers))
    return time.perf_counter() - began, pictures


def difference(one: Epoch, other: Epoch) -> float:
    """Return the mean difference of the first batches in levels of 255."""
    a, b = next(iter(one(0, 0))), next(iter(other(0, 0)))
    return float((a.float() - b.float()).abs().mean())


def measure(samples: list[Sample], cache_folder: Path, workers: int) -> dict[str, Any]:
    """Return images a second of every contender on ``samples``."""
    cache = FrameCache(cache_folder, limit_bytes=2**33)
    kept = ours(samples, cache)
    began = time.perf_counter()
    for _ in kept(0, 0):
        pass
    contenders = {
        "foveal_decoding": ours(samples, None),
        "foveal_kept": kept,
        "torchcodec_approximate": plain(samples, "approximate"),
        "torchcodec_exact": plain(samples, "exact"),
    }
    filled = time.perf_counter() - began
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(ROUNDS + 1):
        for name, epoch in contenders.items():
            seconds, pictures = seconds_of(epoch, turn, workers)
            if turn:
                rates[name].append(pictures / seconds)
        print(turn, {name: round(values[-1]) for name, values in rates.items() if values})
    median = {name: statistics.median(values) for name, values in rates.items()}
    best = max(median["torchcodec_approximate"], median["torchcodec_exact"])
    return {
        "clips": len(samples),
        "seconds_to_fill_the_cache": round(filled, 2),
        "images_per_second": {name: round(value, 1) for name, value in median.items()},
        "spread": {n: [round(min(v), 1), round(max(v), 1)] for n, v in rates.items()},
        "decoding_over_faster_torchcodec": round(median["foveal_decoding"] / best, 3),
        "kept_over_faster_torchcodec": round(median["foveal_kept"] / best, 3),
        "mean_difference_of_255": {
            name: round(difference(contenders["foveal_decoding"], contenders[name]), 3)
            for name in contenders
            if name != "foveal_decoding"
        },
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("FOVEAL_DATA"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/loading.json"))
    options = parser.parse_args()
    if options.data is None:
        parser.error("say where the clips are: --data FOLDER or FOVEAL_DATA")
    torch.set_num_threads(1)
    measured: dict[str, Any] = {}
    for name in ("weizmann", "skateboard"):
        data = read_dataset(str(options.data / name))
        samples = [one for part in data.samples.values() for one in part]
        with tempfile.TemporaryDirectory() as folder:
            measured[name] = measure(samples, Path(folder), options.workers)
        print(name, measured[name])
    ratios = [m["decoding_over_faster_torchcodec"] for m in measured.values()]
    measured["load_average"] = [round(x, 2) for x in os.getloadavg()]
    write_result(
        options.out,
        title="images a second for training, beside torchcodec in a plain DataLoader",
        measured=measured,
        protocol="see the docstring of benchmarks/loading.py",
        threads=options.workers,
        claim={
            "text": "decoding at every draw gives at least as many images a second as torchcodec "
            f"in a plain DataLoader ({min(ratios):.2f}x and {max(ratios):.2f}x)",
            "holds": bool(np.min(ratios) >= 1.0),
        },
    )


if __name__ == "__main__":
    main()
