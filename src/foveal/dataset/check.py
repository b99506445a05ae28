"""From rows to labels, and every mistake that can be seen before a video is opened."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

from foveal.dataset.listing import Listing, Row
from foveal.dataset.problems import Problems, near_miss, some
from foveal.dataset.samples import DataError, Split
from foveal.video.errors import shown

_HINT = "correct the labels"

Labels: TypeAlias = tuple[int, ...]
"""The classes of one row, at least one."""


def resolve(
    listing: Listing, wanted: Sequence[str] | None = None
) -> tuple[tuple[str, ...], list[Labels]]:
    """Return the names of the classes and the labels of every row.

    Names are sorted where the format gives no order; numbered classes are named by their number
    where nothing names them. Names that are ``wanted`` take the place of those of the list: a
    number then means the wanted name, unless the list names its numbers itself.

    Raises:
        DataError: an unknown name, a number out of range, numbers among names, a class without
            a row, fewer than two classes.
    """
    if not listing.rows:
        raise DataError(f"{shown(listing.name)}: no sample in it", hint="list one video a row")
    problems = Problems(hint=_HINT if wanted is None else _hint_for(wanted))
    names = tuple(wanted) if wanted is not None else listing.class_names
    if names is None:
        names = _names_of(listing, problems)
        problems.raise_any()
    elif wanted is not None and listing.class_names is not None:
        listing.rows = [_named(row, listing.class_names) for row in listing.rows]
    index = {name: place for place, name in enumerate(names)}
    if wanted is not None:
        _refuse_strangers(listing.rows, index, problems)
        problems.raise_any()
    labels = [
        tuple(_number(label, row.where, index, problems) for label in row.labels)
        for row in listing.rows
    ]
    for row, own in zip(listing.rows, labels, strict=True):
        for label in (label for label, times in Counter(own).items() if times > 1):
            problems.add(row.where, f"label {shown(names[label])!r} twice")
    problems.raise_any()
    counts = Counter(label for row in labels for label in row)
    if wanted is not None:
        return names, labels
    empty = [name for place, name in enumerate(names) if not counts[place]]
    if empty:
        what = "this class has" if len(empty) == 1 else f"these {len(empty)} classes have"
        problems.add(listing.name, f"{what} no sample: {some(empty)}")
    if len(names) < 2:
        problems.add(listing.name, f"only one class ({shown(names[0])}); at least two are needed")
    problems.raise_any()
    return names, labels


def _hint_for(wanted: Sequence[str]) -> str:
    known = f"{len(wanted):,} class{'es' if len(wanted) > 1 else ''}: {some(wanted)}"
    return f"the model knows {known}; rename the others or leave them out"


def _refuse_strangers(rows: Sequence[Row], index: dict[str, int], problems: Problems) -> None:
    """Note every class that a model does not know, once, however many rows have it."""
    counts = Counter(label for row in rows for label in row.labels if label not in index)
    first = {label: row for row in reversed(rows) for label in row.labels}
    for label, count in counts.items():
        if isinstance(label, str):
            more = f", nor for {count - 1:,} more" if count > 1 else ""
            what = f"no class {shown(label)!r}{near_miss(label, index)}{more}"
            problems.add(first[label].where, what)


def _named(row: Row, names: Sequence[str]) -> Row:
    """Return a row whose numbers, if it has such, are replaced by their names."""
    return row.labelled(
        names[label] if isinstance(label, int) and 0 <= label < len(names) else label
        for label in row.labels
    )


def _names_of(listing: Listing, problems: Problems) -> tuple[str, ...]:
    given = [(label, row) for row in listing.rows for label in row.labels]
    numbers = [(label, row) for label, row in given if isinstance(label, int)]
    if numbers and len(numbers) < len(given):
        label, named = next(pair for pair in given if isinstance(pair[0], str))
        problems.add(named.where, f"label {shown(str(label))!r} is a name, others are numbers")
    if numbers:
        highest = max(label for label, _ in numbers)
        if highest >= 10 * len(numbers) + 10:
            worst = next(row for label, row in numbers if label == highest)
            problems.add(worst.where, f"label {highest} is out of range for {len(numbers)} rows")
            return ()
        return tuple(str(number) for number in range(max(highest, 0) + 1))
    names = sorted({str(label) for label, _ in given})
    if listing.own:
        first: dict[str, str] = {}
        for name in names:
            twin = first.setdefault(" ".join(name.casefold().split()), name)
            if twin != name:
                row = next(row for label, row in given if label == name)
                problems.add(
                    row.where, f"labels {twin!r} and {name!r} differ only in case or space"
                )
    return tuple(names)


def _number(label: str | int, where: str, index: dict[str, int], problems: Problems) -> int:
    if isinstance(label, int):
        if not 0 <= label < len(index):
            problems.add(where, f"label {label} is out of range (0 to {len(index) - 1})")
        return label
    if label not in index:
        problems.add(where, f"no class {shown(label)!r}{near_miss(label, index)}")
    return index.get(label, -1)


def identities(listing: Listing) -> list[str]:
    """Return for every row what tells its file from others; links are followed in own lists."""
    folders: dict[str, str] = {}
    found: list[str] = []
    for row in listing.rows:
        parent, name = os.path.split(os.path.normpath(row.path))
        path = os.path.join(parent, name)
        if listing.own:
            if parent not in folders:
                folders[parent] = os.path.realpath(parent)
            path = os.path.join(folders[parent], name)
            path = os.path.realpath(path) if os.path.islink(path) else path
        found.append(path if row.row is None else f"{path}#{row.row}")
    return found


def without_repeats(
    listing: Listing, class_names: Sequence[str], labels: Sequence[Labels], files: Sequence[str]
) -> list[int]:
    """Return the places of the rows to keep: no stretch of a file (by identity) twice.

    In a public set repeats are dropped and counted (in some, a stretch has two labels).

    Raises:
        DataError: in the user's own list, a row twice or one file under two labels.
    """
    problems = Problems(hint="keep one of the two; a clip of several classes has them in labels")
    first: dict[tuple[str, float | None, float | None], int] = {}
    keep: list[int] = []
    relabelled = 0
    for place, row in enumerate(listing.rows):
        key = (files[place], row.start_seconds, row.end_seconds)
        earlier = first.setdefault(key, place)
        if earlier == place:
            keep.append(place)
            continue
        other = listing.rows[earlier]
        if set(labels[earlier]) == set(labels[place]):
            problems.add(row.where, f"the same file and stretch as {shown(other.where)}")
        else:
            relabelled += 1
            here, there = (
                repr(" | ".join(class_names[label] for label in labels[at]))
                for at in (place, earlier)
            )
            what = f"the same file under two labels: {here} here and {there} in {other.where}"
            problems.add(row.where, what)
    if listing.own:
        problems.raise_any()
    elif len(problems):
        second = f", {relabelled:,} of them with a second label" if relabelled else ""
        listing.notes.append(f"{len(problems):,} repeated rows were left out{second}")
    return keep


def check_splits(
    rows: Sequence[Row],
    labels: Sequence[Labels],
    groups: Sequence[str],
    class_names: Sequence[str],
    *,
    files: Sequence[str],
    explicit: bool,
) -> None:
    """Check splits that a list gives.

    Args:
        rows: with a split each.
        labels: of the rows.
        groups: of the rows; what must not be parted.
        class_names: in the order of the labels.
        files: of the rows, by identity.
        explicit: whether the list itself gives the groups.

    Raises:
        DataError: a file or a given group stands in two splits, or train lacks a class.
    """
    problems = Problems(hint="move all of it to one split")
    where_file: dict[str, Row] = {}
    where_group: dict[str, Row] = {}
    for row, group, file in zip(rows, groups, files, strict=True):
        other = where_file.setdefault(file, row)
        if other.split != row.split:
            problems.add(row.where, _leak(f"the file is in {row.split}", other))
            continue
        other = where_group.setdefault(group, row)
        if explicit and other.split != row.split:
            problems.add(row.where, _leak(f"group {shown(group)!r} is in {row.split}", other))
    problems.raise_any()
    check_train(rows, labels, class_names)


def _leak(what: str, other: Row) -> str:
    return f"{what} and in {other.split} ({shown(other.where)})"


def check_train(rows: Sequence[Row], labels: Sequence[Labels], class_names: Sequence[str]) -> None:
    """Check that every class can be learnt.

    Raises:
        DataError: a class stands only in validation or test.
    """
    problems = Problems(hint="add videos of it to train, or take the class out")
    pairs = [(row, label) for row, own in zip(rows, labels, strict=True) for label in own]
    trained = {label for row, label in pairs if row.split == "train"}
    seen: set[int] = set()
    for row, label in pairs:
        if label not in trained and label not in seen:
            seen.add(label)
            name = shown(class_names[label])
            problems.add(row.where, f"class {name!r} is in {row.split} but not in train")
    problems.raise_any()


def splits_of(rows: Sequence[Row]) -> set[Split]:
    """Return the splits that rows name.

    Raises:
        DataError: some rows name one and others do not.
    """
    problems = Problems(hint="give every row a split, or none")
    given = {row.split for row in rows if row.split is not None}
    if given:
        for row in rows:
            if row.split is None:
                problems.add(row.where, "no split, but other rows have one")
    problems.raise_any()
    return given
