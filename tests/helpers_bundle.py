"""A tiny bundle and tiny clips: the network names the colour of a frame, so answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import av
import numpy as np
from onnx import TensorProto, helper

from foveal.bundle import Bundle, Part, write_bundle
from foveal.systems.baselines import protocol
from foveal.types import Canvas

COLOURS = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}
GREY = (110, 110, 110)
"""No colour wins on it: every probability is a third, below the threshold."""

SIDE = 16
MACS_PER_FRAME = 3 * SIDE * SIDE


def colour_model(*, gain: float = 1 / 20) -> bytes:
    """Return a graph of uint8 (rows,3,16,16) to the probabilities of the three colours."""
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [], [gain])
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["frames"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["floats", "axes"], ["means"], keepdims=0),
            helper.make_node("Mul", ["means", "scale"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probs"], axis=1),
        ],
        "colour",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["rows", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("probs", TensorProto.FLOAT, ["rows", 3])],
        [scale, axes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString()


def write_colour_bundle(
    path: Path,
    *,
    num_frames: int = 4,
    threshold: float | None = 0.6,
    model: bytes | None = None,
    answer: Literal["mean", "each", "running"] = "each",
) -> Bundle:
    """Write a bundle of the system ``baselines`` that looks at ``num_frames`` uniform frames."""
    config = protocol.Config(
        canvas=Canvas(height=SIDE, width=SIDE),
        num_frames=num_frames,
        num_classes=len(COLOURS),
        part="colour",
        answer=answer,
    )
    (spec,) = protocol.parts(config)
    return write_bundle(
        path,
        system="baselines",
        config=config,
        class_names=list(COLOURS),
        parts=[Part(spec=spec, model=model or colour_model(), macs={(): MACS_PER_FRAME})],
        licence="Apache-2.0",
        class_output="colour.probs",
        threshold=threshold,
    )


def write_clip(
    path: Path, colours: Sequence[tuple[int, int, int]], *, frames_each: int = 10, fps: int = 10
) -> Path:
    """Write an MPEG-4 clip of 32x32 px that shows one plain colour after the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.gop_size = 5
        for colour in colours:
            for _ in range(frames_each):
                pixels = np.broadcast_to(np.array(colour, np.uint8), (32, 32, 3))
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


# --- a system with exits --------------------------------------------------------------------

NUM_EXITS = 6


def write_exits_bundle(path: Path) -> Bundle:
    """Write a bundle of ``baselines`` that answers after each of six frames and may stop there.

    No frame is sure: a clip becomes so when its frames agree.
    """
    return write_colour_bundle(
        path,
        num_frames=NUM_EXITS,
        threshold=None,
        model=colour_model(gain=1 / 100),
        answer="running",
    )


def write_votes(
    folder: Path, *, num_clips: int, seed: int, right: float = 0.6, num_frames: int = NUM_EXITS
) -> None:
    """Write clips into class folders, each of whose frames shows its colour or another by chance.

    Half of the clips show nothing but their colour; in the others ``right`` of the frames do.
    """
    rng = np.random.default_rng(seed)
    names = list(COLOURS)
    for i in range(num_clips):
        name = names[i % len(names)]
        sure = rng.random() < 0.5  # half of the clips are easy: any frame tells
        shown = [
            COLOURS[name]
            if sure or rng.random() < right
            else COLOURS[names[int(rng.integers(len(names)))]]
            for _ in range(num_frames)
        ]
        paled = [_paled(colour, rng) for colour in shown]  # no clip is a copy of another
        write_clip(folder / name / f"{name}{i}.mp4", paled, frames_each=2)


def _paled(colour: tuple[int, int, int], rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(np.clip(c + rng.integers(-20, 20), 0, 255)) for c in colour)
    return red, green, blue
