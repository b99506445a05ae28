"""Windows of sound: right place, right rate, zeros outside, nothing remembered."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from foveal.types import Look, Plan, Sound
from foveal.video import ArraySource, FileSource, NoSoundError, probe
from tests.helpers_video import make_clip

RATE = 16000


def beeps() -> np.ndarray:
    """Return four seconds: silence but for a 1 kHz tone in the third one."""
    t = np.arange(4 * RATE) / RATE
    tone = 0.5 * np.sin(2 * np.pi * 1000 * t)
    return np.where((t >= 2) & (t < 3), tone, 0).astype(np.float32)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("sound")
    return make_clip(folder / "a.mp4", num_frames=100, sound=beeps())


def listen(source: FileSource | ArraySource, *times: float, view: Sound) -> np.ndarray:
    source.plan(Plan(times=times))
    heard, seconds = source.look(Look(times=times, view=view))
    assert seconds == times
    assert heard.dtype == np.float32
    return heard


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_the_tone_is_heard_where_it_is(clip: str, rate: int) -> None:
    heard = listen(FileSource(clip), 0.5, 2.0, 2.5, 3.2, view=Sound(rate=rate, seconds=0.5))
    assert heard.shape == (4, rate // 2)
    loudness = np.sqrt((heard**2).mean(axis=1))
    np.testing.assert_allclose(loudness, [0, 0.35, 0.35, 0], atol=0.03)
    spectrum = np.abs(np.fft.rfft(heard[2]))
    assert spectrum.argmax() * 2 == pytest.approx(1000, abs=2)


def test_the_beginning_of_the_tone_is_in_its_place(clip: str) -> None:
    heard = listen(FileSource(clip), 1.75, view=Sound(rate=RATE, seconds=0.5))[0]
    onset = np.argmax(np.abs(heard) > 0.2) / RATE
    assert onset == pytest.approx(0.25, abs=0.01)


def test_outside_the_track_is_silence(clip: str) -> None:
    heard = listen(FileSource(clip), 3.9, 99.0, view=Sound(rate=RATE, seconds=1.0))
    assert not heard[1].any()
    assert not heard[0, RATE // 2 :].any()


def test_a_window_does_not_depend_on_what_was_heard_before(clip: str) -> None:
    view = Sound(rate=RATE, seconds=0.4)
    alone = listen(FileSource(clip), 2.3, view=view)[0]
    source = FileSource(clip)
    among = listen(source, 3.0, 0.1, 2.3, view=view)[2]
    np.testing.assert_array_equal(alone, among)


def test_neighbouring_windows_join(clip: str) -> None:
    source = FileSource(clip)
    halves = listen(source, 2.2, 2.4, view=Sound(rate=RATE, seconds=0.2)).reshape(-1)
    whole = listen(source, 2.2, view=Sound(rate=RATE, seconds=0.4))[0]
    np.testing.assert_allclose(halves, whole, atol=0.02)


def test_silent_files_say_so(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", num_frames=3)
    assert not probe(path).has_sound
    source = FileSource(path)
    with pytest.raises(NoSoundError) as caught:
        listen(source, 0.0, view=Sound(rate=RATE, seconds=0.1))
    assert caught.value.kind == "no_sound"


def test_sound_counts_from_the_first_shown_picture(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "a.mkv", num_frames=50, ticks=range(25, 75), sound=beeps()
    )  # pictures from 1 s on
    heard = listen(FileSource(path), 1.2, view=Sound(rate=RATE, seconds=0.5))[0]
    assert np.sqrt((heard**2).mean()) == pytest.approx(0.35, abs=0.03)


def test_sound_of_an_array() -> None:
    frames = np.zeros((100, 3, 4, 4), np.uint8)
    source = ArraySource(frames, fps=25, sound=beeps(), sound_rate=RATE)
    assert source.info.has_sound
    heard = listen(source, 2.25, 3.9, view=Sound(rate=8000, seconds=0.5))
    np.testing.assert_allclose(
        heard[0], beeps()[int(2.25 * RATE) : int(2.75 * RATE) : 2], atol=1e-6
    )
    assert not heard[1].any()
    with pytest.raises(NoSoundError):
        listen(ArraySource(frames, fps=25), 0.0, view=Sound(rate=8000, seconds=0.5))


def test_a_window_may_begin_before_its_time(clip: str) -> None:
    """So that the sound and the picture of one moment have one time."""
    view = Sound(rate=RATE, seconds=0.5, lead_seconds=0.25)
    source = FileSource(clip)
    around = listen(source, 2.0, 0.1, view=view)
    np.testing.assert_array_equal(
        around[0], listen(source, 1.75, view=Sound(rate=RATE, seconds=0.5))[0]
    )
    assert not around[1].any()  # most of it before the track
    array = ArraySource(np.zeros((100, 3, 4, 4), np.uint8), fps=25, sound=beeps(), sound_rate=RATE)
    heard = listen(array, 2.25, 0.0, view=view)
    np.testing.assert_allclose(heard[0], beeps()[2 * RATE : int(2.5 * RATE)], atol=1e-6)
    assert not heard[1].any()
    with pytest.raises(ValueError, match="leads by at most"):
        Sound(rate=RATE, seconds=0.5, lead_seconds=0.6)


def test_sound_that_cannot_be_decoded_is_silence_with_a_warning(tmp_path: Path) -> None:
    path = Path(make_clip(tmp_path / "a.mp4", num_frames=100, sound=beeps()))
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        packets = [(p.pos, p.size) for p in container.demux(stream) if p.size]
    data = bytearray(path.read_bytes())
    for start, size in packets:
        data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
    source = FileSource(str(path))
    for _ in range(2):
        assert not listen(source, 2.25, view=Sound(rate=RATE, seconds=0.5)).any()
    assert source.warnings == ["some of the sound cannot be decoded; it is silent there"]
