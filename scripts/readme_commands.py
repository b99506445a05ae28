"""Print the two commands that README.md promises, one a line: the light one, then the full one.

They are the lines of its first fenced block, without their comments. ``.ci/run`` runs them
literally, so what a reader copies is what is tested.
"""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def commands(text: str) -> tuple[str, str]:
    """Return the light command and the full command of the README ``text``.

    Raises:
        ValueError: the first fenced block does not hold exactly two commands.
    """
    block = re.search(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    if block is None:
        raise ValueError("README.md has no fenced block")
    lines = (re.sub(r"(^|\s+)#.*", "", line).rstrip() for line in block[1].splitlines())
    found = [line for line in lines if line]
    if len(found) != 2:
        raise ValueError(f"the first block of README.md must hold two commands, has {found}")
    return found[0], found[1]


if __name__ == "__main__":
    print("\n".join(commands(README.read_text(encoding="utf-8"))))
