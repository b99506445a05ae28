"""Peak memory of `foveal recognize` on ten minutes and on an hour, each as a cold process.

    python benchmarks/memory.py --light light/bin/foveal

Writes results/benchmarks/memory.json. Both files repeat the same ten seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from clips import DEFAULT_CACHE, repeated_clip
from cold import run_cold

from foveal.results import write_result

REPEATS = 5
MINUTES = (10, 60)


def main() -> None:
    """Measure both files and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--light", required=True, help="foveal of a light install")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    options = parser.parse_args()
    peaks: dict[int, list[float]] = {minutes: [] for minutes in MINUTES}
    looks: dict[int, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(REPEATS):
            for minutes in MINUTES:
                clip = repeated_clip(options.cache, minutes=minutes)
                command = [options.light, "recognize", str(clip), "--json"]
                done = run_cold(command, scratch=Path(folder))
                peaks[minutes].append(round(done.peak_mb, 1))
                looks[minutes] = len(json.loads(done.output)["trace"]["frames_seconds"])
    ten, sixty = (statistics.median(peaks[minutes]) for minutes in MINUTES)
    measured = {
        "peak_mb_10_minutes": ten,
        "peak_mb_60_minutes": sixty,
        "ratio": round(sixty / ten, 4),
        "distinct_frames_10_minutes": looks[10],
        "distinct_frames_60_minutes": looks[60],
        "peak_mb_all": {str(minutes): values for minutes, values in peaks.items()},
    }
    write_result(
        "results/benchmarks/memory.json",
        title="Peak memory of `foveal recognize` on ten minutes and on an hour",
        protocol=f"1280x720 H.264, light install, cold process, median of {REPEATS}, in turns",
        measured=measured,
        threads=2,
        claim={
            "text": "under 300 MB, and within 10 % between ten minutes and an hour",
            "holds": max(max(p) for p in peaks.values()) < 300 and sixty <= 1.1 * ten,
        },
    )
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
