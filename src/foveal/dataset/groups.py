"""Which samples belong together: given, or read off the names of the files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foveal.dataset.listing import Row
from foveal.dataset.samples import Split

_UCF = re.compile(r"^v_(.+)_g(\d+)_c\d+$")
_HMDB = re.compile(r"^(.+)_[fluh]_(?:cm|nm)_np\d_(?:fr|ba|le|ri)_(?:bad|med|goo)_\d+$")
_YOUTUBE = re.compile(r"^(.{11})_\d{5,6}(?:_\d{6})?$")
_NTU = re.compile(r"^S\d{3}C\d{3}(P\d{3})R\d{3}A\d{3}")
_NUMBERED_CUT = re.compile(
    r"^(.*[^\W_].*?)[ _.-]+(?:c|cut|clip|part|seg|segment|shot|scene)[ _-]?\d+$"
)

_RECUR = 0.8
"""A prefix names a subject if this share of all prefixes stands in more than one class."""

_LARGEST = 0.6
"""What joins more than this share of all files is no convention that helps to split."""

_FEWEST = 3
"""Groups needed for three splits."""


@dataclass(frozen=True, slots=True)
class Groups:
    """What belongs together.

    Args:
        keys: one a row; rows with equal keys must not be parted.
        how: how they were found, for the user; None: every file stands alone.
        explicit: whether the list itself gives them.
        named: the group of each row as a user would call it; None for a file that stands alone.
        files: of the rows, by identity.
    """

    keys: tuple[str, ...]
    how: str | None
    explicit: bool
    named: tuple[str | None, ...]
    files: tuple[str, ...]

    def only(self, places: Sequence[int]) -> Groups:
        """Return the groups of the rows at ``places``."""
        return replace(
            self,
            keys=tuple(self.keys[i] for i in places),
            named=tuple(self.named[i] for i in places),
            files=tuple(self.files[i] for i in places),
        )


def find_groups(
    rows: Sequence[Row],
    labels: Sequence[int],
    *,
    files: Sequence[str],
    own: bool,
    copies: Sequence[tuple[str, str]] = (),
) -> Groups:
    """Return what the rows give as groups, or else what their file names say.

    Rows of one file always belong together, and so do ``copies`` (pairs of files). Where a
    public list's own splits part what its file names seem to group, its names mean something
    else.
    """
    named: list[str | None] = [row.group for row in rows]
    how: str | None = "as the list gives them"
    explicit = any(name is not None for name in named)
    if not explicit:
        named, how = _by_name(rows, labels)
        if not own and _parted(rows, named):
            named, how = [None] * len(rows), None
    joined = _Joined()
    for file, name in zip(files, named, strict=True):
        joined.join(f"file {file}", f"file {file}" if name is None else f"group {name}")
    for file, other in copies:
        joined.join(f"file {file}", f"file {other}")
    keys = tuple(joined.root(f"file {file}") for file in files)
    if how is None and len(set(keys)) < len(keys):
        how = "what is of one file"
    return Groups(keys=keys, how=how, explicit=explicit, named=tuple(named), files=tuple(files))


def _parted(rows: Sequence[Row], named: Sequence[str | None]) -> bool:
    """Return whether given splits put a named group on two sides."""
    split_of: dict[str | None, Split | None] = {}
    return any(
        split_of.setdefault(name, row.split) != row.split
        for row, name in zip(rows, named, strict=True)
        if name is not None
    )


def _by_name(rows: Sequence[Row], labels: Sequence[int]) -> tuple[list[str | None], str | None]:
    stems = [Path(row.path).stem if Path(row.path).suffix else Path(row.path).name for row in rows]
    if any(row.row is not None for row in rows):
        return [None] * len(rows), None
    for read, how in _CONVENTIONS:
        names = read(stems, labels)
        if names is None:
            continue
        sizes: dict[str, int] = defaultdict(int)
        for name in names:
            sizes[name] += 1
        if (
            _FEWEST <= len(sizes) < len(rows)
            and max(sizes.values()) <= _LARGEST * len(rows)
            and _in_most_classes(names, labels)
        ):
            return list(names), how
    return [None] * len(rows), None


def _in_most_classes(names: Sequence[str], labels: Sequence[int]) -> bool:
    """Return whether most classes have groups enough; else the names just repeat the class."""
    found: dict[int, set[str]] = defaultdict(set)
    for name, label in zip(names, labels, strict=True):
        found[label].add(name)
    return sum(len(groups) >= _FEWEST for groups in found.values()) >= len(found) / 2


def _matched(
    pattern: re.Pattern[str],
) -> Callable[[Sequence[str], Sequence[int]], list[str] | None]:
    """Return a reader for names that all match ``pattern``; its groups joined are the name."""

    def read(stems: Sequence[str], labels: Sequence[int]) -> list[str] | None:
        matches = [pattern.match(stem) for stem in stems]
        if not all(matches):
            return None
        return ["_".join(match.groups()) for match in matches if match is not None]

    return read


def _movies(stems: Sequence[str], labels: Sequence[int]) -> list[str] | None:
    """HMDB51: the movie a clip is cut from; what all names of a class end with is the action."""
    matches = [_HMDB.match(stem) for stem in stems]
    if not all(matches):
        return None
    titles = [match[1] for match in matches if match is not None]
    actions: dict[int, str] = {}
    for title, label in zip(titles, labels, strict=True):
        actions[label] = _common_end(actions.get(label, title), title)
    return [
        t.removesuffix(actions[k]).rstrip("_") or t for t, k in zip(titles, labels, strict=True)
    ]


def _common_end(a: str, b: str) -> str:
    """Return the words (parted by ``_``) that both end with."""
    x, y = a.split("_"), b.split("_")
    count = 0
    while count < min(len(x), len(y)) and x[-1 - count] == y[-1 - count]:
        count += 1
    return "_".join(x[len(x) - count :])


def _subjects(stems: Sequence[str], labels: Sequence[int]) -> list[str] | None:
    """What stands before the first ``_``, if it recurs across classes."""
    if not all("_" in stem.lstrip("_") for stem in stems):
        return None
    prefixes = [stem[: stem.index("_", 1)] for stem in stems]
    classes: dict[str, set[int]] = defaultdict(set)
    for prefix, label in zip(prefixes, labels, strict=True):
        classes[prefix].add(label)
    recurring = sum(len(found) > 1 for found in classes.values())
    return prefixes if recurring >= _RECUR * len(classes) else None


def _cuts(stems: Sequence[str], labels: Sequence[int]) -> list[str] | None:
    """``match_clip3``, ``match-part2``: what is numbered is cut from what stands before."""
    matches = [_NUMBERED_CUT.match(stem) for stem in stems]
    if not any(matches):
        return None
    pairs = zip(stems, matches, strict=True)
    return [stem if match is None else match[1] for stem, match in pairs]


_CONVENTIONS: tuple[tuple[Callable[[Sequence[str], Sequence[int]], list[str] | None], str], ...] = (
    (_matched(_UCF), "the g of UCF101's file names"),
    (_movies, "the movie in HMDB51's file names"),
    (_matched(_NTU), "the person in NTU RGB+D's file names"),
    (_matched(_YOUTUBE), "the video each clip was cut from, in its file name"),
    (_subjects, "what stands before the first _ of a file name"),
    (_cuts, "the recording each numbered clip was cut from, in its file name"),
)


class _Joined:
    """Union-find over names."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, name: str) -> str:
        """Return what stands for everything joined with ``name``."""
        self._parent.setdefault(name, name)
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name

    def join(self, a: str, b: str) -> None:
        """Put ``a`` and ``b`` together; the root of ``b`` stands for both."""
        self._parent[self.root(a)] = self.root(b)
