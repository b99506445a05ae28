"""Which packets of one forward run hold a frame somebody asked for. Pure arithmetic on ticks.

The picture at time t is the frame with the largest timestamp not after t. Packets come in
decoding order, so which one that is, is settled only when no packet with a timestamp up to t
can follow: when decoding time has passed t.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable


class Schedule:
    """The asked times of one forward run, and the packets' timestamps seen so far.

    Args:
        times: ticks asked for, any order.
    """

    def __init__(self, times: Iterable[int]) -> None:
        self._times = sorted(set(times))
        self._known: list[int] = []
        self._horizon: int | None = None
        self._ended = False

    @property
    def times(self) -> list[int]:
        """Ticks asked for, ascending."""
        return self._times

    def replace(self, times: Iterable[int]) -> None:
        """Ask for other times; what was seen stays known."""
        self._times = sorted(set(times))

    def see(self, pts: int, dts: int | None) -> None:
        """Note the timestamps of the next packet in decoding order."""
        bisect.insort(self._known, pts)
        if dts is not None and (self._horizon is None or dts > self._horizon):
            self._horizon = dts

    def end(self) -> None:
        """Note that no packet follows."""
        self._ended = True

    def forget_before(self, pts: int) -> None:
        """Drop what was seen before ``pts``, which must be a frame already reached."""
        del self._known[: bisect.bisect_left(self._known, pts)]

    def settled(self, tick: int) -> bool:
        """Return whether all packets with a timestamp up to ``tick`` have been seen."""
        return self._ended or (self._horizon is not None and self._horizon > tick)

    def frame_at(self, tick: int) -> int | None:
        """Return the timestamp on display at ``tick`` among those seen, if there is one."""
        at = bisect.bisect_right(self._known, tick)
        return self._known[at - 1] if at else None

    def wanted(self, pts: int) -> bool | None:
        """Return whether the frame ``pts`` is asked for; None while that is not settled.

        A frame after the last asked time is not settled either: a later plan may ask for it.
        """
        at = bisect.bisect_left(self._times, pts)
        if at == len(self._times):
            return None
        tick = self._times[at]
        if self.frame_at(tick) != pts:
            return False
        return True if self.settled(tick) else None
