"""Find the broken files among many, in parallel, before something long runs over them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from foveal.records import SCHEMA_VERSION
from foveal.types import Canvas, FovealError, Look, Plan
from foveal.video.errors import CrashedError, TruncatedError, VideoError, public, shown
from foveal.video.file_source import available_cores

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    from foveal.video.file_source import FileSource

_CHECK_CANVAS = Canvas(height=32, width=32)
_AHEAD = 4
"""Files handed to each worker in advance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong with one file, if anything.

    Args:
        path: as given, without the password that a URL may hold.
        kind: ``ok``, or the kind of the error.
        message: what is wrong; empty for ``ok``.
        hint: what to do; empty for ``ok``.
        warnings: one line each; the file can be used all the same.
    """

    path: str
    kind: str
    message: str = ""
    hint: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the file can be used."""
        return self.kind == "ok"

    @classmethod
    def of(cls, path: str, error: FovealError) -> Finding:
        """Return the finding that ``error`` means."""
        return cls(path=public(path), kind=error.kind, message=error.message, hint=error.hint)

    def to_json(self) -> dict[str, object]:
        """Return plain JSON data, shaped like a failed record."""
        if self.ok:
            return {
                "schema": SCHEMA_VERSION,
                "path": self.path,
                "status": "ok",
                "warnings": list(self.warnings),
            }
        return {
            "schema": SCHEMA_VERSION,
            "path": self.path,
            "status": "error",
            "error": {"kind": self.kind, "message": self.message, "hint": self.hint},
        }


def examine(path: str, *, full: bool = False) -> Finding:
    """Check one file here, in this process.

    Args:
        path: file or URL.
        full: decode every frame instead of a few keyframes and the last group of pictures.
    """
    from foveal.video.file_source import FileSource

    try:
        source = FileSource(path, threads=1)
        try:
            length = source.info.duration_seconds
            times = tuple(dict.fromkeys((0.0, length / 2, length)))
            source.plan(Plan(times=times, keyframes=True))
            source.look(Look(times=times, view=_CHECK_CANVAS))
            _check_end(path, source)
            found = [*source.warnings, *(_decode_all(path) if full else ())]
            return Finding(path=public(path), kind="ok", warnings=tuple(found))
        finally:
            source.close()
    except FovealError as error:
        return Finding.of(path, error)


def _check_end(path: str, source: FileSource) -> None:
    """Raise :class:`TruncatedError` if the last pictures that the header promises are not there."""
    end, stated = source.early_end_seconds(), source.info.duration_seconds
    if end is not None and _lasts_until(path, end) + source.end_slack_seconds < stated:
        raise TruncatedError(
            f"{shown(path)}: cut off, the last picture that can be decoded is at {end:.2f} s of "
            f"{stated:.2f} s",
            hint="copy or download it again",
        )


def _lasts_until(path: str, last: float) -> float:
    """Return the second until which there is something in the file, decodable or not.

    The picture at ``last`` may be meant to stand for long, what follows it may be damaged and
    all the same there, and sound may go on after the pictures; that counts only where the file
    states one length for everything in it. Pictures of zeros were never filled in.
    """
    import av
    from av.stream import Discard

    from foveal.video.opening import open_video
    from foveal.video.timeline import read_timeline

    opened = open_video(path)
    try:
        timeline, stream = read_timeline(opened), opened.stream
        sounds = () if stream.duration else opened.container.streams.audio
        for sound in sounds:
            sound.discard = Discard.default
        with contextlib.suppress(av.FFmpegError):  # it is read from where it is, then
            opened.container.seek(timeline.ticks(last), stream=stream)
        zero, until = timeline.origin * timeline.time_base, last
        with contextlib.suppress(av.FFmpegError):  # an unreadable rest is the end
            for packet in opened.container.demux(stream, *sounds):
                if packet.pts is None or packet.is_corrupt:
                    continue
                if packet.stream.index != stream.index or any(bytes(packet)):
                    end = (packet.pts + (packet.duration or 0)) * packet.time_base - zero
                    until = max(until, float(end))
        return until
    finally:
        opened.close()


def _decode_all(path: str) -> Iterator[str]:
    """Decode every frame and yield what is wrong, one line each."""
    import av

    from foveal.video.opening import open_video
    from foveal.video.timeline import demuxed

    opened = open_video(path)
    try:
        frames = damaged = 0
        for packet in chain(demuxed(opened), (None,)):
            try:
                pictures = opened.stream.codec_context.decode(packet)
            except av.FFmpegError:
                damaged += 1
                continue
            frames += len(pictures)
            damaged += sum(picture.is_corrupt for picture in pictures)
        if damaged:
            yield f"{damaged:,} {'picture is' if damaged == 1 else 'pictures are'} damaged"
        stated = opened.stream.frames
        if frames + 1 < stated:  # one may be lost to packing
            yield f"{frames:,} of {stated:,} pictures can be decoded"
    finally:
        opened.close()


def doctor(
    paths: Iterable[str | tuple[str, VideoError]], *, workers: int | None = None, full: bool = False
) -> Iterator[Finding]:
    """Check many files in parallel and yield one finding each, in the order given.

    Files are checked in other processes, so that a file that takes its decoder down costs
    itself only. They are started afresh: a script that calls this needs the usual
    ``if __name__ == "__main__":``.

    Args:
        paths: files and URLs, or pairs (name, error) as :func:`foveal.video.expand` yields.
        workers: processes; None takes the CPUs.
        full: decode every frame instead of a few keyframes and the last group of pictures.
    """
    count = workers or available_cores()
    if count < 1:
        raise ValueError(f"workers must be at least 1, got {count}")
    waiting: list[tuple[str, Future[Finding] | Finding]] = []
    pool = _pool(count)
    try:
        for item in paths:
            if isinstance(item, str):
                waiting.append((item, _submit(pool, item, full)))
            else:
                waiting.append((item[0], Finding.of(*item)))
            if len(waiting) >= count * _AHEAD:
                finding, pool = _result(pool, waiting, count, full)
                yield finding
        while waiting:
            finding, pool = _result(pool, waiting, count, full)
            yield finding
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def write_bad(findings: Iterable[Finding], path: str) -> int:
    """Write the findings that are not ok to ``path``, one JSON object a line.

    Returns:
        how many there were.
    """
    count = 0
    with open(path, "w", encoding="utf-8") as file:
        for finding in findings:
            if not finding.ok:
                file.write(json.dumps(finding.to_json()) + "\n")
                count += 1
    return count


def _pool(count: int) -> ProcessPoolExecutor:
    # Imported here: whoever only reads a video never pays for it.
    import signal
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    return ProcessPoolExecutor(
        max_workers=count,
        # spawned, not forked: decoders and the caller's threads do not survive a fork
        mp_context=get_context("spawn"),
        # Ctrl-C reaches every process of a terminal; what it means is for the caller to say.
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back while workers start: they inherit that, and ours comes a moment later."""
    import signal

    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _submit(pool: ProcessPoolExecutor, path: str, full: bool) -> Future[Finding]:
    try:
        with _interrupts_held():
            return pool.submit(examine, path, full=full)
    except BrokenExecutor as error:
        broken: Future[Finding] = Future()
        broken.set_exception(error)
        return broken


def _result(
    pool: ProcessPoolExecutor,
    waiting: list[tuple[str, Future[Finding] | Finding]],
    count: int,
    full: bool,
) -> tuple[Finding, ProcessPoolExecutor]:
    """Return the first finding, and the pool to go on with (a new one after a crash)."""
    path, result = waiting.pop(0)
    if isinstance(result, Finding):
        return result, pool
    try:
        return result.result(), pool
    except BrokenExecutor:
        pool.shutdown(wait=False, cancel_futures=True)
    finding = _alone(path, full)  # a crash breaks all files in work: find out whose it was
    pool = _pool(count)
    waiting[:] = [
        (name, later if isinstance(later, Finding) or _done(later) else _submit(pool, name, full))
        for name, later in waiting
    ]
    return finding, pool


def _done(future: Future[Finding]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _alone(path: str, full: bool) -> Finding:
    """Check one file in a process of its own."""
    with _pool(1) as pool:
        try:
            return pool.submit(examine, path, full=full).result()
        except BrokenExecutor:
            hint = "leave it out, and report it to the makers of FFmpeg"
            message = f"{shown(path)}: the decoder crashed on it"
            return Finding.of(path, CrashedError(message, hint=hint))
