"""Public lists of whole clips: Kinetics, Something-Something, Diving48, UCF101, HMDB51."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foveal.dataset.listing import Listing, Row, numbered_lines, read_text, visible
from foveal.dataset.problems import near_miss
from foveal.dataset.public import (
    PublicList,
    read_json,
    whole_number,
    with_siblings,
)
from foveal.dataset.samples import ALIASES, DataError, Split
from foveal.video import VideoError, probe
from foveal.video.errors import shown

KINETICS_COLUMNS = ("youtube_id", "time_start", "time_end")
UCF_LIST = re.compile(r"^(train|test)list(\d+)\.txt$")
HMDB_LIST = re.compile(r"^(.+)_test_split(\d+)\.txt$")

_LIST_SUFFIXES = frozenset({".txt", ".csv", ".json", ".jsonl", ".npz"})

_TRIMMED_SECONDS = 1.0
"""A file named by its video alone is taken for cut if it is at most this longer than its cut."""


def read_kinetics(path: Path, *, videos: Path | None) -> Listing:
    """Return the clips of a Kinetics list (400, 600, 700).

    Columns ``label,youtube_id,time_start,time_end,split``; the list of the test videos has no
    label. A clip is ``<id>_<start, 6 digits>_<end, 6 digits>``, or ``<id>`` for the whole video
    (then only the stretch is a sample). Source: DeepMind's CSV files and the file names of
    open-mmlab/mmaction2, tools/data/parse_file_list.py.

    Raises:
        DataError: a row that cannot be read, or too many files missing.
    """
    gathered = PublicList(path.name, videos or path.parent)
    read = with_siblings(path)
    for split, file in read:
        rows = csv.DictReader(io.StringIO(read_text(file), newline=""), strict=True)
        try:
            for row in rows:
                where = f"{file.name} row {rows.line_num}"
                _kinetics_row(gathered, where, row, split)
        except csv.Error as error:
            gathered.problems.add(f"{file.name} row {rows.line_num}", f"cannot be read ({error})")
    return gathered.listing(notes=[_read_as("Kinetics", read)])


def _kinetics_row(
    gathered: PublicList, where: str, row: Mapping[str, Any], file_split: Split | None
) -> None:
    name, label = str(row.get("youtube_id") or "").strip(), str(row.get("label") or "").strip()
    given = str(row.get("split") or "").strip().lower()
    split = ALIASES.get(given, file_split) if given else file_split
    try:
        start, end = float(row["time_start"]), float(row["time_end"])
    except (KeyError, TypeError, ValueError):
        gathered.problems.add(where, "time_start and time_end are no seconds")
        return
    if not name or not 0 <= start < end < 1e6:
        gathered.problems.add(
            where, "no youtube_id, or a stretch that does not end after it starts"
        )
        return
    if not label:
        gathered.unlabelled += 1
        return
    gathered.labels.add(label)
    cut = f"{name}_{int(start):06d}_{int(end):06d}"
    found = gathered.find((cut, name), near=(label, given))
    if found is None:
        return
    whole = found.stem == name and not _is_cut(found, end - start)
    gathered.rows.append(
        Row(
            path=str(found),
            label=label,
            where=where,
            start_seconds=start if whole else None,
            end_seconds=end if whole else None,
            group=name,
            split=split,
        )
    )


def _is_cut(path: Path, seconds: float) -> bool:
    """Return whether a file is only as long as the stretch its row names."""
    try:
        return probe(str(path)).duration_seconds <= seconds + _TRIMMED_SECONDS
    except VideoError:  # opening it will say what is wrong
        return False


def read_something(path: Path, *, videos: Path | None) -> Listing:
    """Return the clips of a Something-Something list.

    A JSON list of ``{"id", "label", "template", "placeholders"}``; the class is the template
    without its brackets, its number stands in ``*labels.json`` beside the list; the test list has
    ids alone. Clips are ``<id>.webm``. Source: open-mmlab/mmaction2,
    tools/data/parse_file_list.py, and hibana2077/TC-BombKD, docs/new_dataset.md.

    Raises:
        DataError: an entry that cannot be read, an unknown class, or too many files missing.
    """
    gathered = PublicList(path.name, videos or path.parent)
    names = _something_labels(path)
    read = with_siblings(path)
    for split, file in read:
        for number, entry in enumerate(_entries(file), start=1):
            where = f"{file.name} entry {number}"
            name = str(entry.get("id") or "")
            if not name:
                gathered.problems.add(where, "no id")
                continue
            if "template" not in entry:
                gathered.unlabelled += 1
                continue
            label = str(entry["template"]).replace("[", "").replace("]", "")
            if names is not None and label not in names:
                what = f"no class {shown(label)!r}{near_miss(label, names)}"
                gathered.problems.add(where, what)
                continue
            gathered.labels.add(label)
            found = gathered.find((name,))
            if found is not None:
                gathered.rows.append(Row(path=str(found), label=label, where=where, split=split))
    return gathered.listing(notes=[_read_as("Something-Something", read)], class_names=names)


def _something_labels(path: Path) -> tuple[str, ...] | None:
    files = sorted(path.parent.glob("*labels.json"))
    if not files:
        return None
    data = read_json(files[0])
    numbers = {k: whole_number(v) for k, v in data.items()} if isinstance(data, dict) else {}
    if not numbers or sorted(numbers.values(), key=str) != sorted(range(len(numbers)), key=str):
        raise DataError(
            f"{shown(files[0].name)}: not class names with their numbers from 0 on",
            hint="download it again, or take it away to number the classes by their names",
        )
    return tuple(sorted(numbers, key=lambda name: numbers[name] or 0))


def read_diving48(path: Path, *, videos: Path | None) -> Listing:
    """Return the clips of a Diving48 list.

    A JSON list of ``{"vid_name", "label", "start_frame", "end_frame"}``; the names of the classes
    stand in ``*vocab.json`` beside it, four words each. Clips are cut already (``start_frame`` is
    0); a later start is taken by the frame rate of the file. Source: open-mmlab/mmaction2,
    tools/data/diving48/README.md, and hibana2077/TC-BombKD, docs/new_dataset.md.

    Raises:
        DataError: an entry that cannot be read, a label out of range, or too many files missing.
    """
    gathered = PublicList(path.name, videos or path.parent)
    names: list[str] | None = None
    for file in sorted(path.parent.glob("*vocab.json")):
        words = read_json(file)
        if not isinstance(words, list) or not all(isinstance(w, list | str) for w in words):
            raise DataError(f"{shown(file.name)}: not a list of classes", hint="download it again")
        names = [w if isinstance(w, str) else " ".join(map(str, w)) for w in words]
    read = with_siblings(path)
    for split, file in read:
        for number, entry in enumerate(_entries(file), start=1):
            where = f"{file.name} entry {number}"
            label, name = whole_number(entry.get("label")), str(entry.get("vid_name") or "")
            first = whole_number(entry.get("start_frame", 0))
            last = whole_number(entry.get("end_frame", 1))
            if not name or label is None or first is None or last is None or first < 0:
                gathered.problems.add(where, "vid_name, label, start_frame or end_frame is missing")
                continue
            if first >= last:
                gathered.senseless += 1
                continue
            found = gathered.find((name,))
            if found is not None:
                start, end = _frames_to_seconds(found, first, last) if first else (None, None)
                gathered.rows.append(
                    Row(
                        path=str(found),
                        label=label,
                        where=where,
                        start_seconds=start,
                        end_seconds=end,
                        split=split,
                    )
                )
    return gathered.listing(notes=[_read_as("Diving48", read)], class_names=names)


def _frames_to_seconds(path: Path, first: int, last: int) -> tuple[float, float]:
    try:
        rate = probe(str(path)).fps
    except VideoError as error:
        raise DataError(error.message, hint=error.hint) from error
    if not rate:
        raise DataError(
            f"{shown(str(path))}: has no frame rate, so frames {first} to {last} mean no time",
            hint="cut the clip, or list it with seconds in a CSV file",
        )
    return first / rate, last / rate


def read_ucf101(path: Path, *, videos: Path | None) -> Listing:
    """Return one of the three official splits of UCF101.

    ``trainlist01.txt`` has ``<class>/<file> <number from 1>`` a line, ``testlist01.txt`` the file
    alone, ``classInd.txt`` a number from 1 and a name. Source: open-mmlab/mmaction2,
    tools/data/parse_file_list.py, and torchvision's ``UCF101``.

    Args:
        path: the folder of the lists (the first split), or one of them.
        videos: where the classes' folders are.

    Raises:
        DataError: a line that cannot be read, a class unknown, or too many files missing.
    """
    folder = path if path.is_dir() else path.parent
    lists = _of_one_fold(path, UCF_LIST)
    names = _ucf_classes(lists[0].parent / "classInd.txt")
    gathered = PublicList(path.name, videos or folder)
    for file in lists:
        for number, line in numbered_lines(file):
            where = f"{file.name} row {number}"
            name, _, label_number = line.partition(" ")
            label = name.split("/")[0]
            if "/" not in name or label not in names:
                gathered.problems.add(where, f"no class {shown(label)!r}{near_miss(label, names)}")
            elif label_number and label_number.strip() != str(names.index(label) + 1):
                what = f"{shown(label)!r} is number {names.index(label) + 1}, not {label_number}"
                gathered.problems.add(where, shown(what))
            else:
                found = gathered.find((Path(name).stem,), near=(label,))
                if found is not None:
                    split: Split = "train" if file.name.startswith("train") else "test"
                    row = Row(path=str(found), label=label, where=where, split=split)
                    gathered.rows.append(row)
    note = f"read as UCF101 ({', '.join(file.name for file in lists)})"
    return gathered.listing(notes=[note], class_names=names)


def _ucf_classes(path: Path) -> tuple[str, ...]:
    numbered: dict[int, str] = {}
    for number, line in numbered_lines(path):
        place, _, name = line.partition(" ")
        if whole_number(place) != number or not name.strip():
            raise DataError(
                f"{shown(path.name)} row {number}: not '{number} <class>'",
                hint="download the list again",
            )
        numbered[number] = name.strip()
    return tuple(numbered.values())


def read_hmdb51(path: Path, *, videos: Path | None) -> Listing:
    """Return one of the three official splits of HMDB51.

    ``<class>_test_split1.txt`` has ``<file> <use>`` a line: 1 is train, 2 is test, 0 is neither.
    Source: torchvision's ``HMDB51``, and open-mmlab/mmaction2, tools/data/parse_file_list.py.

    Args:
        path: the folder of the lists (the first split), or one of them.
        videos: where the clips are.

    Raises:
        DataError: a line that cannot be read, or too many files missing.
    """
    folder = path if path.is_dir() else path.parent
    lists = _of_one_fold(path, HMDB_LIST)
    gathered = PublicList(path.name, videos or folder)
    uses: dict[str, Split] = {"1": "train", "2": "test"}
    unused = 0
    for file in lists:
        match = HMDB_LIST.match(file.name)
        assert match is not None
        gathered.labels.add(match[1])
        for number, line in numbered_lines(file):
            name, _, use = line.rpartition(" ")
            if use == "0" and name:
                unused += 1
            elif use not in uses or not name:
                gathered.problems.add(f"{file.name} row {number}", "not '<file> <0, 1 or 2>'")
            else:
                found = gathered.find((Path(name.strip()).stem,), near=(match[1],))
                if found is not None:
                    where = f"{file.name} row {number}"
                    row = Row(path=str(found), label=match[1], where=where, split=uses[use])
                    gathered.rows.append(row)
    matched = HMDB_LIST.match(lists[0].name)
    notes = [f"read as HMDB51 (split {'' if matched is None else matched[2]})"]
    if unused:
        notes.append(f"{unused:,} files belong to neither side of this split")
    return gathered.listing(notes=notes)


def _of_one_fold(path: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Return the lists of one official split: that of ``path``, or in a folder the lowest there."""
    if path.is_dir():
        found = [(m[2], p) for p in candidates(path) if (m := pattern.match(p.name))]
        fold = min((number for number, _ in found), key=int, default="")
    else:
        match = pattern.match(path.name)
        fold = "" if match is None else match[2]
        beside = sorted(path.parent.iterdir())
        found = [(m[2], p) for p in beside if (m := pattern.match(p.name))]
    lists = [file for number, file in found if number == fold]
    if not lists:
        raise DataError(
            f"{shown(str(path))}: none of the lists of this set is here",
            hint="name the folder of the lists, or one of them",
        )
    return [file for file in lists if file.parent == lists[0].parent]


def candidates(folder: Path) -> list[Path]:
    """Return the files in which a set's lists may be: in ``folder``, one below, more below lists.

    Public sets keep their lists beside the videos' folders, or in a folder named for them.
    """
    found: list[Path] = []
    folders = [folder]
    while folders:
        here = folders.pop(0)
        for path in visible(here):
            if path.suffix.lower() in _LIST_SUFFIXES:
                found.append(path)
            elif path.is_dir() and (here == folder or "annot" in here.name.lower()):
                folders.append(path)
    return found


def _entries(path: Path) -> Sequence[Mapping[str, Any]]:
    data = read_json(path)
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        raise DataError(
            f"{shown(path.name)}: not a JSON list of entries", hint="download the list again"
        )
    return data


def _read_as(name: str, read: Sequence[tuple[Split | None, Path]]) -> str:
    return f"read as {name} ({', '.join(shown(file.name) for _, file in read)})"
