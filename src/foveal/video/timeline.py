"""Where time zero is, where the keyframes are, and how ticks and seconds relate. No decoding."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING

from foveal.video.errors import NoFramesError, TruncatedError, VideoError, shown
from foveal.video.mp4_index import keyframe_delays
from foveal.video.names import is_url

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

    from foveal.video.opening import Opened

TOLERANCE_SECONDS = 1e-6
"""A time this little before a frame still means that frame: times travel as rounded floats."""

_AVI_LOOK_AHEAD = 100
"""Packets read to learn whether an AVI file with B-frames says which frame each one holds."""

_MAX_START = 2000
"""Packets read in search of the first keyframe; without one, decoding starts at the first."""

_STATES_ITS_END = ("matroska", "nut")
"""These say when the file ends, counted from zero, not how long it lasts."""

_LOOSE_FORMATS = ("mpeg",)
"""Not every packet of these has a timestamp, and the guesses in between differ after a seek."""


@dataclass(slots=True)
class Timeline:
    """The time axis of one video stream, in ticks of its time base.

    Args:
        time_base: seconds per tick.
        origin: timestamp of the first shown frame; second 0.
        first_key: timestamp of the first keyframe; decoding can start nowhere before it.
        frame_ticks: ticks from frame to frame at the average rate, at least 1.
        counted: packets do not say which frame they hold. A frame's time is then that of
            the packet that pushed it out of the decoder, less ``delay``; failing that, its
            number.
        delay: ticks from the first packet to the one that pushes the first frame out, once
            that is known.
        seekable: timestamps after a seek are those of reading through.
        keys: timestamps of all keyframes, ascending, or None without an index. An entry may
            be a few frames off (the index of MP4 holds decoding times) until its packet has
            been seen, see :meth:`learn`.
        exact_keys: the entries known to be right.
    """

    time_base: Fraction
    origin: int
    first_key: int
    frame_ticks: int
    counted: bool
    seekable: bool
    delay: int | None = None
    keys: list[int] | None = None
    exact_keys: set[int] = field(default_factory=set)

    def ticks(self, seconds: float) -> int:
        """Return the tick on display at ``seconds``; a frame shows from its own tick on."""
        return self.origin + math.floor((seconds + TOLERANCE_SECONDS) / float(self.time_base))

    def seconds(self, ticks: int) -> float:
        """Return the seconds from the first shown frame to ``ticks``."""
        return float((ticks - self.origin) * self.time_base)

    def key_before(self, ticks: int) -> int:
        """Return the position in ``keys`` of the last keyframe not after ``ticks`` (or 0)."""
        assert self.keys is not None
        return max(bisect.bisect_right(self.keys, ticks) - 1, 0)

    def learn(self, packet_pts: int, index_position: int) -> None:
        """Correct one entry of ``keys`` by the timestamp its packet really has."""
        assert self.keys is not None
        below = index_position == 0 or self.keys[index_position - 1] < packet_pts
        last = len(self.keys) - 1
        above = index_position == last or packet_pts < self.keys[index_position + 1]
        if below and above:  # else the index is not in order: keep what still can be searched
            self.keys[index_position] = packet_pts
            self.exact_keys.add(packet_pts)


def read_timeline(opened: Opened) -> Timeline:
    """Read the first packets and the container's index.

    Raises:
        NoFramesError: the stream holds no packet.
        TruncatedError: the index promises packets that are not in the file.
    """
    stream = opened.stream
    time_base = stream.time_base or Fraction(1, 1000)
    first = _first_packets(opened)
    key = next((p for p in first if p.is_keyframe), first[0])
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    frame_ticks = max(round(1 / (rate * time_base)), 1) if rate else 1
    counted = key.pts is None or _timestamps_made_up(opened, first)
    start = key.dts if counted else key.pts
    timeline = Timeline(
        time_base=time_base,
        origin=start or 0,
        first_key=start or 0,
        frame_ticks=frame_ticks,
        counted=counted,
        seekable=start is not None and opened.format not in _LOOSE_FORMATS,
    )
    if not counted:
        shown_pts = [p.pts for p in first if p.pts is not None and not p.is_discard]
        if key.is_discard and shown_pts:
            timeline.origin = min(shown_pts)
    timeline.keys = _index(opened, timeline, key)
    return timeline


def _first_packets(opened: Opened) -> list[Packet[VideoStream]]:
    """Return packets up to the first keyframe, and on until the first shown frame is known.

    An edit list may hide the keyframe and what follows it; the first frame shown is then the
    earliest of those it does not hide.
    """
    packets: list[Packet[VideoStream]] = []
    key_seen = False
    lowest: int | None = None
    for packet in islice(demuxed(opened), _MAX_START):
        packets.append(packet)
        key_seen = key_seen or packet.is_keyframe
        if not key_seen or packet.is_discard:
            continue
        if packet.is_keyframe or packet.pts is None or packet.dts is None:
            break
        lowest = packet.pts if lowest is None else min(lowest, packet.pts)
        if packet.dts >= lowest:  # nothing earlier can follow
            break
    if packets:
        return packets
    raise no_frames(opened)


def _timestamps_made_up(opened: Opened, first: list[Packet[VideoStream]]) -> bool:
    """Return whether an AVI file's packets are just numbered although frames are reordered.

    AVI stores no presentation times. FFmpeg finds them in the pictures of some codecs; for the
    others (H.264, packed MPEG-4) it numbers the packets, which is then wrong for most frames.
    """
    if opened.format != "avi" or not opened.stream.codec_context.has_b_frames:
        return False
    packets = chain(first, islice(demuxed(opened), _AVI_LOOK_AHEAD))
    shifts = {p.pts - p.dts for p in packets if p.pts is not None and p.dts is not None}
    return len(shifts) == 1


def no_frames(opened: Opened) -> VideoError:
    """Return the error for a stream without a packet."""
    if len(opened.stream.index_entries) or opened.stream.frames:
        hint = "copy or download it again"
        return TruncatedError(
            f"{shown(opened.name)}: its pictures are cut off, only the header is there", hint=hint
        )
    hint = "if it is the start of a segmented video, join the segments first"
    return NoFramesError(f"{shown(opened.name)}: a video stream without a frame", hint=hint)


def demuxed(opened: Opened) -> Iterator[Packet[VideoStream]]:
    """Yield and count packets from the current position on; an unreadable rest is the end.

    Raises:
        NetworkError: the connection broke.
    """
    import av

    from foveal.video.opening import cannot_fetch

    try:
        for packet in opened.container.demux(opened.stream):
            if packet.size:  # PyAV ends with an empty one
                opened.meter.packets_read += 1
                opened.meter.bytes_read += packet.size
                yield packet
    except (av.FFmpegError, OSError) as error:
        if is_url(opened.name):
            raise cannot_fetch(opened.name, error, begun=True) from error


def _index(opened: Opened, timeline: Timeline, first_key: Packet[VideoStream]) -> list[int] | None:
    """Return the keyframes' timestamps from the container's own index if it is complete."""
    import av

    stream = opened.stream
    if opened.format not in ("mov", "matroska", "avi") or not timeline.seekable:
        return None
    if opened.format == "matroska":  # its index is read by the first seek
        try:
            opened.container.seek(timeline.first_key, stream=stream)
        except av.FFmpegError:
            return None
    entries = stream.index_entries
    if not len(entries):
        return None
    stamps = _key_stamps(stream)
    if not stamps or not _covers(opened, timeline, stamps, entries[-1].timestamp):
        return None
    timeline.exact_keys.add(timeline.first_key)
    if opened.format == "matroska" or timeline.counted:
        return stamps
    dts = first_key.dts if first_key.dts is not None else stamps[0]
    shift = timeline.first_key - dts
    if opened.format == "mov" and not is_url(opened.name):
        delays = keyframe_delays(opened.name, stream.id)
        if delays is not None and len(delays) == len(stamps):
            shown_at = [s + shift + int(d - delays[0]) for s, d in zip(stamps, delays, strict=True)]
            timeline.exact_keys.update(shown_at)
            return sorted(set(shown_at))
    return [s + shift for s in stamps]


def _key_stamps(stream: VideoStream) -> list[int]:
    """Return the index timestamps of the keyframes, hopping from one to the next."""
    entries = stream.index_entries
    stamps: list[int] = []
    at = entries.search_timestamp(entries[0].timestamp, backward=False)
    while at >= 0:
        stamp = entries[at].timestamp
        if stamps and stamp <= stamps[-1]:
            break  # timestamps that do not ascend cannot be searched
        stamps.append(stamp)
        at = entries.search_timestamp(stamp + 1, backward=False)
    return stamps


def _covers(opened: Opened, timeline: Timeline, stamps: list[int], last: int) -> bool:
    """Return whether the index reaches the end of the stream."""
    duration = length_ticks(opened, timeline)
    if duration is None:
        return False
    missing = timeline.origin + duration - last
    if opened.format == "matroska":  # keyframes only: the end may be one long group away
        gaps = [b - a for a, b in pairwise(stamps)]
        return bool(gaps) and missing <= 2 * max(gaps)
    return missing <= max(duration / 20, float(1 / timeline.time_base))


def length_ticks(opened: Opened, timeline: Timeline) -> int | None:
    """Return the length of the picture stream as the header states it, or None."""
    stream, container = opened.stream, opened.container
    if stream.duration and stream.duration > 0:
        return int(stream.duration)
    if container.duration:
        stated = Fraction(container.duration, 1_000_000)
        start = Fraction(container.start_time or 0, 1_000_000)
        lead = max(timeline.origin * timeline.time_base - start, Fraction(0))
        if opened.format in _STATES_ITS_END and stated > start:
            stated -= start
        return max(int((stated - lead) / timeline.time_base), 0)
    return None
