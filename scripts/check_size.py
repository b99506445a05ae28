"""Refuse files too large for a repository of text: ``check_size.py FILE...`` (limit 250 kB)."""

from __future__ import annotations

import sys
from pathlib import Path

MAX_BYTES = 250_000


def main(names: list[str]) -> int:
    """Print each file of ``names`` over the limit and return 1 if there is one."""
    large = [(name, Path(name).stat().st_size) for name in names]
    large = [(name, size) for name, size in large if size > MAX_BYTES]
    for name, size in large:
        print(f"{name}: {size:,} bytes, more than {MAX_BYTES:,}")
    return 1 if large else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
