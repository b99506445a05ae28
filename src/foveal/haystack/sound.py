"""What is heard: a hiss, and the tone of a class while its evidence lasts."""

from __future__ import annotations

import numpy as np

from foveal.haystack.draws import Draws, Floats
from foveal.haystack.preset import Preset
from foveal.haystack.scene import Scene

_BASE_HZ = 440.0
_SEMITONES = 5
"""From one tone to the next."""

HISS, LOUDNESS = 0.03, 0.25
"""Standard deviation of the hiss and amplitude of a tone; 1 is full scale."""


def tone_hz(number: int) -> float:
    """Return the pitch of tone ``number``."""
    return float(_BASE_HZ * 2.0 ** (_SEMITONES * number / 12))


def hear(preset: Preset, scene: Scene, draws: Draws) -> Floats:
    """Return float32 (N, samples): the sound of ``scene``, frame t from second t / fps on."""
    num_frames = preset.frames
    num_samples = round(num_frames / preset.fps * preset.sound_rate)
    heard = draws.grain("hiss", num_samples)
    heard *= np.float32(HISS)
    pitches = np.array(_pitches(preset), np.float32)
    shown = np.repeat(scene.shown, preset.repeat, axis=1)
    pitch = np.where(shown >= 0, pitches[shown], 0)
    for number in np.flatnonzero(pitch.any(axis=1)):
        frame = np.arange(num_samples) * preset.fps // preset.sound_rate
        hz = pitch[number, np.minimum(frame, num_frames - 1)]
        turn = np.cumsum(hz, dtype=np.float64) / preset.sound_rate
        heard[number] += LOUDNESS * np.sin(2 * np.pi * turn).astype(np.float32)
    return heard


def _pitches(preset: Preset) -> list[float]:
    """Return the pitch of each class in Hz; 0 for a class that is not heard."""
    first = preset.cues.index("tone") if "tone" in preset.cues else 0
    return [
        tone_hz(label - first) if cue == "tone" else 0.0 for label, cue in enumerate(preset.cues)
    ]
