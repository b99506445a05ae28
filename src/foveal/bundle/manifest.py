"""The manifest of a bundle: what ``bundle.json`` holds, as frozen and checked dataclasses."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeAlias

from foveal.bundle.calibration import Calibration
from foveal.bundle.decode import decode_config, encode_config
from foveal.bundle.errors import BundleInvalidError, BundleTooNewError, ConfigError
from foveal.types import PartSpec, TensorSpec

BUNDLE_SCHEMA = 3
"""Version of ``bundle.json``; raised when a key changes meaning or is added."""
SCHEMAS: Mapping[str, int] = {"calibration": 2, "tested": BUNDLE_SCHEMA}
"""The first version that had each of these keys. A bundle without any has version 1, so that
older versions of Foveal read it too."""

Axes: TypeAlias = tuple[tuple[str, int], ...]
"""One value for each symbolic axis of a part: pairs in alphabetical order."""

MacTable: TypeAlias = Mapping[Axes, int]
"""Multiply-accumulates of one row of a part, for each declared binding of its axes."""

_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def axes_key(bound: Mapping[str, int]) -> Axes:
    """Return ``bound`` as a key of a :data:`MacTable`.

    Example:
        >>> axes_key({"t": 4, "n": 2})
        (('n', 2), ('t', 4))
    """
    return tuple(sorted(bound.items()))


def declared_axes(spec: PartSpec) -> tuple[dict[str, int], ...]:
    """Return every combination of the axis values that ``spec`` declares; one ``{}`` if none.

    Example:
        >>> spec = PartSpec(name="p", inputs=(TensorSpec("x", ("t",)),),
        ...                 outputs=(TensorSpec("y", ()),), axes={"t": (2, 4)})
        >>> declared_axes(spec)
        ({'t': 2}, {'t': 4})
    """
    products = itertools.product(*spec.axes.values())
    return tuple(dict(zip(spec.axes, values, strict=True)) for values in products)


def look_up_macs(part: str, table: MacTable, bound: Mapping[str, int]) -> int:
    """Return the MACs of one row of ``part`` with its axes ``bound``.

    Raises:
        ValueError: nothing was counted for these axes; the message names what was.
    """
    macs = table.get(axes_key(bound))
    if macs is None:
        raise ValueError(
            f"part {part!r} was not counted at {dict(bound)}; "
            f"declared are {', '.join(str(dict(axes)) for axes in table) or 'none'}"
        )
    return macs


@dataclass(frozen=True, slots=True, kw_only=True)
class MacEntry:
    """One line of a part's MAC table: ``macs`` multiply-accumulates a row at ``axes``."""

    axes: Mapping[str, int]
    macs: int

    def __post_init__(self) -> None:
        if self.macs < 0:
            raise ValueError(f"macs must be >= 0, got {self.macs}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """A file of the archive with its true size in bytes and its SHA-256 (hex)."""

    file: str
    sha256: str
    num_bytes: int

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"sha256 must be 64 lower-case hex digits, got {self.sha256!r}")
        if self.num_bytes < 0:
            raise ValueError(f"num_bytes must be >= 0, got {self.num_bytes}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartEntry:
    """A part: its specification, its file and what one row costs."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    axes: Mapping[str, tuple[int, ...]]
    onnx: FileEntry
    macs: tuple[MacEntry, ...]

    def __post_init__(self) -> None:
        if not _SAFE_NAME.fullmatch(self.name):
            raise ValueError(f"part name {self.name!r} must be letters, digits, _ . - only")
        if not self.inputs or not self.outputs:
            raise ValueError(f"part {self.name!r} needs at least one input and one output")
        _need_unique((t.name for t in (*self.inputs, *self.outputs)), f"tensors of {self.name!r}")
        if self.onnx.file != f"parts/{self.name}.onnx":
            raise ValueError(f"part {self.name!r} must be stored as parts/{self.name}.onnx")
        counted = [axes_key(entry.axes) for entry in self.macs]
        declared = {axes_key(axes) for axes in declared_axes(self.spec)}
        if len(counted) != len(declared) or set(counted) != declared:
            raise ValueError(f"part {self.name!r} needs one MAC count for each declared axes value")

    @property
    def spec(self) -> PartSpec:
        """The part as its protocol declares it."""
        return PartSpec(
            name=self.name, inputs=self.inputs, outputs=self.outputs, axes=dict(self.axes)
        )

    @property
    def mac_table(self) -> MacTable:
        """MACs of one row for each declared binding of the axes."""
        return {axes_key(entry.axes): entry.macs for entry in self.macs}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """How the bundle did on clips it did not learn from; ``foveal verify`` has it again.

    Args:
        data: name of the set.
        data_sha256: of the whole set and its splits, as :func:`foveal.dataset.fingerprint` has it.
        split: of it.
        num_clips: that could be read.
        accuracy: top-1, in [0, 1].
        mean_macs: of a clip.
        float_accuracy: of the same model before its parts were made int8; None if they were not.

    Raises:
        ValueError: no clips, or a figure that cannot be.
    """

    data: str
    data_sha256: str
    split: str
    num_clips: int
    accuracy: float
    mean_macs: float
    float_accuracy: float | None = None

    def __post_init__(self) -> None:
        shares = (self.accuracy, *([] if self.float_accuracy is None else [self.float_accuracy]))
        if self.num_clips < 1 or self.mean_macs < 0 or not all(0 <= x <= 1 for x in shares):
            raise ValueError("tested needs clips, accuracies in [0, 1] and no negative cost")
        if not _SHA256.fullmatch(self.data_sha256):
            raise ValueError(f"data_sha256 must be 64 hex digits, got {self.data_sha256!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle says about itself.

    Args:
        schema: version of this layout, see :data:`SCHEMAS`.
        system: name of the system, as in ``systems/index.py``.
        config: its configuration as JSON data; ``decode_config`` makes the dataclass of it.
        class_names: in the order of the probabilities.
        parts: every part the system may call.
        licence: SPDX expression of the weights.
        description: one paragraph for a reader.
        provenance: where it comes from (weights, source, build command, commit), free text.
        class_output: ``part.output`` whose last size is the number of classes.
        threshold: below it an answer is ``nothing it knows``; one for all classes or one each.
        exit_rule: when to stop, as JSON data of the rule's dataclass.
        context: arrays shared by all samples, in one ``.npz``.
        calibration: its operating points as they were measured.
        tested: the accuracy that can be had again.
    """

    schema: int
    system: str
    config: Mapping[str, Any]
    class_names: tuple[str, ...]
    parts: tuple[PartEntry, ...]
    licence: str
    description: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    class_output: str | None = None
    threshold: float | tuple[float, ...] | None = None
    exit_rule: Mapping[str, Any] | None = None
    context: FileEntry | None = None
    calibration: Calibration | None = None
    tested: Tested | None = None

    def __post_init__(self) -> None:
        if not self.system or not self.licence:
            raise ValueError("system and licence must not be empty")
        if not self.class_names or not all(name.strip() for name in self.class_names):
            raise ValueError("class_names must hold at least one name, and no empty one")
        _need_unique(self.class_names, "class_names")
        if not self.parts:
            raise ValueError("parts must hold at least one part")
        _need_unique((part.name for part in self.parts), "parts")
        if isinstance(self.threshold, tuple) and len(self.threshold) != len(self.class_names):
            raise ValueError(
                f"threshold holds {len(self.threshold)} values for {len(self.class_names)} classes"
            )
        if self.context is not None and self.context.file != "context.npz":
            raise ValueError("context must be stored as context.npz")
        for key, first in SCHEMAS.items():
            if getattr(self, key) is not None and self.schema < first:
                raise ValueError(f"{key} needs schema {first}, got {self.schema}")
        if self.calibration is not None:
            self._check_calibration(self.calibration)
        if self.class_output is not None:
            self._check_class_output(self.class_output)

    def _check_calibration(self, calibration: Calibration) -> None:
        timed, there = calibration.machine.part_ms, {part.name for part in self.parts}
        if set(timed) != there:
            raise ValueError(f"the calibration timed {sorted(timed)}, the parts are {there}")
        for measured in calibration.points:
            if not measured.rows.keys() <= there:
                raise ValueError(f"point {measured.point.name!r} calls parts that are not there")

    def _check_class_output(self, class_output: str) -> None:
        outputs = {f"{p.name}.{t.name}": t for p in self.parts for t in p.outputs}
        if class_output not in outputs:
            raise ValueError(
                f"class_output {class_output!r} is not among the outputs {', '.join(outputs)}"
            )
        shape = outputs[class_output].shape
        if not shape or shape[-1] != len(self.class_names):
            raise ValueError(
                f"class_names holds {len(self.class_names)} names, "
                f"but {class_output!r} has shape {shape}"
            )


def _need_unique(names: Iterable[str], what: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{what}: {twice[0]!r} appears twice")


def renewed(manifest: Manifest, **changes: Any) -> Manifest:
    """Return ``manifest`` with ``changes``, in the version that they need."""
    kept = {key: getattr(manifest, key) for key in SCHEMAS} | changes
    is_plain = all(kept[key] is None for key in SCHEMAS)
    return replace(manifest, **{**changes, "schema": 1 if is_plain else BUNDLE_SCHEMA})


def manifest_to_json(manifest: Manifest) -> bytes:
    """Return ``manifest`` as the bytes of ``bundle.json``; the same manifest, the same bytes."""
    data = encode_config(manifest, where="manifest")
    for key in SCHEMAS:
        if data[key] is None:
            del data[key]  # the bytes are those that older versions write and read
    return (json.dumps(data, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def manifest_from_json(raw: bytes, *, path: str) -> Manifest:
    """Return the manifest stored in ``raw``.

    Args:
        raw: the bytes of ``bundle.json``.
        path: of the bundle, for messages.

    Raises:
        BundleInvalidError: not JSON, or a key is unknown, missing or of the wrong type.
        BundleTooNewError: written by a later version of Foveal.
    """
    try:
        data = json.loads(raw, object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
    except (ValueError, RecursionError) as error:
        raise BundleInvalidError(
            f"{path}: bundle.json cannot be read ({error})", hint="export the bundle again"
        ) from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if isinstance(schema, int) and schema > BUNDLE_SCHEMA:
        raise BundleTooNewError(
            f"{path}: bundle schema {schema} is newer than {BUNDLE_SCHEMA}, the last one known",
            hint="upgrade with `pip install --upgrade foveal`",
        )
    try:
        manifest = decode_config(Manifest, data, where="bundle.json")
    except ConfigError as error:
        raise BundleInvalidError(
            f"{path}: {error.message}", hint="export the bundle again"
        ) from error
    if not 1 <= manifest.schema <= BUNDLE_SCHEMA:
        raise BundleInvalidError(
            f"{path}: bundle.json.schema: expected 1 to {BUNDLE_SCHEMA}, got {manifest.schema}",
            hint="export the bundle again",
        )
    return manifest


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _need_unique((key for key, _ in pairs), "an object")
    return dict(pairs)


def _no_constants(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed")
