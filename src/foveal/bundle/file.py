"""One file with everything a system needs to run: parts, class names, settings, hashes.

A bundle is data, never code: a zip of ``bundle.json``, ``parts/<name>.onnx`` and, where a
system has arrays that all clips share, ``context.npz``.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foveal.bundle.archive import (
    MAX_MANIFEST_BYTES,
    arrays_from_npz,
    arrays_to_npz,
    list_archive,
    write_archive,
)
from foveal.bundle.calibration import Calibration
from foveal.bundle.decode import encode_config
from foveal.bundle.errors import (
    BundleError,
    BundleInvalidError,
    BundleMissingError,
    BundleTamperedError,
)
from foveal.bundle.manifest import (
    FileEntry,
    MacEntry,
    MacTable,
    Manifest,
    PartEntry,
    Tested,
    look_up_macs,
    manifest_from_json,
    manifest_to_json,
    renewed,
)
from foveal.bundle.onnx_wire import has_external_data
from foveal.sampling.protocol import CLASS_NAMES
from foveal.types import Array, PartSpec

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_MANIFEST = "bundle.json"
_CONTEXT = "context.npz"
_HINT = "download or export the bundle again"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose manifest has been checked; its files are checked when they are read.

    Args:
        path: where it lies; a path, or a resource of an installed package.
        manifest: what it says about itself.
    """

    path: Path | Traversable
    manifest: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str] | Traversable) -> Bundle:
        """Read and check the manifest of the bundle at ``path``; no part is read yet.

        Raises:
            BundleMissingError: no such file, or it cannot be read.
            BundleInvalidError: not a bundle, or its manifest breaks a rule.
            BundleTamperedError: names, sizes or the list of files are not what they should be.
            BundleTooNewError: made by a later version of Foveal.
        """
        place = Path(path) if isinstance(path, (str, os.PathLike)) else path
        raw, sizes = _read(place, _MANIFEST, max_bytes=MAX_MANIFEST_BYTES)
        manifest = manifest_from_json(raw, path=str(place))
        declared = {entry.file: entry.num_bytes for entry in _files_of(manifest)}
        del sizes[_MANIFEST]
        for name in sorted(declared.keys() ^ sizes.keys()):
            state = "is listed but not inside" if name in declared else "is inside but not listed"
            raise BundleTamperedError(f"{place}: {name!r} {state}", hint=_HINT)
        for name, num_bytes in declared.items():
            if sizes[name] != num_bytes:
                raise BundleTamperedError(
                    f"{place}: {name!r} has {sizes[name]} bytes, the manifest says {num_bytes}",
                    hint=_HINT,
                )
        return cls(place, manifest)

    @property
    def specs(self) -> Mapping[str, PartSpec]:
        """The parts by name, as the system's protocol declares them."""
        return {part.name: part.spec for part in self.manifest.parts}

    def part_bytes(self, name: str) -> bytes:
        """Return the ONNX model of part ``name``, once its hash is checked.

        Raises:
            BundleInvalidError: no such part, or the model keeps tensors in another file.
            BundleTamperedError: size or hash differ from the manifest.
        """
        raw = self._checked(self._part(name).onnx)
        _refuse_external_data(raw, f"{self.path}: part {name!r}")
        return raw

    def context(self) -> Mapping[str, Array]:
        """Return the arrays that all samples share, read-only.

        ``class_names``, unicode (K,), is always among them: a protocol may tell a class by name.

        Raises:
            BundleInvalidError: an array is broken.
            BundleTamperedError: size or hash differ from the manifest.
        """
        entry, names = self.manifest.context, np.array(self.manifest.class_names, np.str_)
        names.flags.writeable = False
        if entry is None:
            return {CLASS_NAMES: names}
        stored = arrays_from_npz(self._checked(entry), path=str(self.path))
        return {**stored, CLASS_NAMES: names}

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of parts and settings, whatever was measured since."""
        bare = renewed(self.manifest, calibration=None, tested=None)
        return hashlib.sha256(manifest_to_json(bare)).hexdigest()

    def calibrated(self, path: str | os.PathLike[str], calibration: Calibration) -> Bundle:
        """Write this bundle with ``calibration`` to ``path``, in one step, and return it opened.

        Raises:
            BundleError: a file of this one is damaged, or ``path`` cannot be written.
        """
        return self._written(path, renewed(self.manifest, calibration=calibration))

    def delivered(
        self,
        path: str | os.PathLike[str],
        *,
        tested: Tested | None,
        provenance: Mapping[str, str],
        models: Mapping[str, bytes] | None = None,
    ) -> Bundle:
        """Write this bundle to ``path`` with what is known of it, and return it opened.

        Args:
            path: the file; replaced in one step when it exists.
            tested: the accuracy that can be had again.
            provenance: joins what the bundle says already.
            models: ONNX models that take the place of parts with the same names and tables of
                MACs. What was measured of the old ones is left out.

        Raises:
            BundleError: a file of this one is damaged, or ``path`` cannot be written.
        """
        told = {**self.manifest.provenance, **provenance}
        manifest = renewed(self.manifest, tested=tested, provenance=told)
        if models is not None:
            parts = tuple(
                replace(part, onnx=_file_entry(part.onnx.file, models[part.name]))
                for part in manifest.parts
            )
            manifest = renewed(manifest, parts=parts, calibration=None)
        return self._written(path, manifest, models or {})

    def _written(
        self,
        path: str | os.PathLike[str],
        manifest: Manifest,
        models: Mapping[str, bytes] = {},
    ) -> Bundle:
        new = {f"parts/{name}.onnx": model for name, model in models.items()}
        files = {
            entry.file: new[entry.file] if entry.file in new else self._checked(entry)
            for entry in _files_of(manifest)
        }
        _replace(Path(path), {_MANIFEST: manifest_to_json(manifest), **files})
        return Bundle.open(path)

    def macs(self, part: str, axes: Mapping[str, int]) -> int:
        """Return the multiply-accumulates of one row of ``part`` with its axes bound to ``axes``.

        Raises:
            ValueError: nothing was counted for these axes.
            BundleInvalidError: no such part.
        """
        return look_up_macs(part, self._part(part).mac_table, axes)

    def verify(self) -> None:
        """Check every file of the bundle against its hash.

        Raises:
            BundleError: as :meth:`part_bytes` and :meth:`context`.
        """
        for part in self.manifest.parts:
            self.part_bytes(part.name)
        self.context()

    def _part(self, name: str) -> PartEntry:
        for part in self.manifest.parts:
            if part.name == name:
                return part
        names = ", ".join(part.name for part in self.manifest.parts)
        raise BundleInvalidError(f"{self.path}: no part {name!r}, only {names}", hint=_HINT)

    def _checked(self, entry: FileEntry) -> bytes:
        raw, _ = _read(self.path, entry.file, max_bytes=entry.num_bytes)
        if hashlib.sha256(raw).hexdigest() != entry.sha256:
            raise BundleTamperedError(
                f"{self.path}: {entry.file!r} does not match its hash in the manifest", hint=_HINT
            )
        return raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part to be stored: its specification, its ONNX model and its counted MACs."""

    spec: PartSpec
    model: bytes
    macs: MacTable


def write_bundle(
    path: str | os.PathLike[str],
    *,
    system: str,
    config: object,
    class_names: Sequence[str],
    parts: Sequence[Part],
    licence: str,
    description: str = "",
    provenance: Mapping[str, str] | None = None,
    class_output: str | None = None,
    threshold: float | tuple[float, ...] | None = None,
    exit_rule: object | None = None,
    context: Mapping[str, Array] | None = None,
) -> Bundle:
    """Write a bundle to ``path`` and return it opened; the same input gives the same bytes.

    Args:
        path: the file, by custom ``<name>.foveal``; replaced in one step when it exists.
        system: name in ``systems/index.py``.
        config: the system's frozen dataclass (or the same as JSON data).
        class_names: in the order of the probabilities.
        parts: every part the system may call.
        licence: SPDX expression of the weights.
        description: one paragraph for a reader.
        provenance: where it comes from, free text by name.
        class_output: ``part.output`` whose last size is the number of classes.
        threshold: in [0, 1], for ``nothing it knows``; one for all classes or one each.
        exit_rule: dataclass of the rule that says when to stop.
        context: arrays that all samples share; the class names join them by themselves.

    Raises:
        ConfigError: ``config`` or ``exit_rule`` has no JSON form.
        BundleInvalidError: a rule of the manifest is broken, or a model has external data.
    """
    files: dict[str, bytes] = {}
    entries: list[PartEntry] = []
    try:
        if context is not None and CLASS_NAMES in context:
            raise ValueError(f"context: {CLASS_NAMES!r} is added from class_names")
        packed_context = None if context is None else arrays_to_npz(context)
        for part in sorted(parts, key=lambda part: part.spec.name):
            _refuse_external_data(part.model, f"{os.fspath(path)}: part {part.spec.name!r}")
            entry = _part_entry(part)
            files[entry.onnx.file] = part.model
            entries.append(entry)
        if packed_context is not None:
            files[_CONTEXT] = packed_context
        manifest = Manifest(
            schema=1,
            system=system,
            config=encode_config(config),
            class_names=tuple(class_names),
            parts=tuple(entries),
            licence=licence,
            description=description,
            provenance=dict(provenance or {}),
            class_output=class_output,
            threshold=threshold,
            exit_rule=None if exit_rule is None else encode_config(exit_rule, where="exit_rule"),
            context=None if packed_context is None else _file_entry(_CONTEXT, packed_context),
        )
    except ValueError as error:
        raise BundleInvalidError(
            f"{os.fspath(path)}: {error}", hint="correct this and export again"
        ) from error
    _replace(Path(path), {_MANIFEST: manifest_to_json(manifest), **files})
    return Bundle.open(path)


def _part_entry(part: Part) -> PartEntry:
    spec = part.spec
    return PartEntry(
        name=spec.name,
        inputs=spec.inputs,
        outputs=spec.outputs,
        axes=dict(spec.axes),
        onnx=_file_entry(f"parts/{spec.name}.onnx", part.model),
        macs=tuple(MacEntry(axes=dict(axes), macs=macs) for axes, macs in part.macs.items()),
    )


def _file_entry(name: str, content: bytes) -> FileEntry:
    return FileEntry(file=name, sha256=hashlib.sha256(content).hexdigest(), num_bytes=len(content))


def _files_of(manifest: Manifest) -> list[FileEntry]:
    files = [part.onnx for part in manifest.parts]
    return files if manifest.context is None else [*files, manifest.context]


def _refuse_external_data(model: bytes, where: str) -> None:
    try:
        external = has_external_data(model)
    except ValueError as error:
        raise BundleInvalidError(f"{where} is not an ONNX model ({error})", hint=_HINT) from error
    if external:
        raise BundleInvalidError(
            f"{where} keeps tensors in another file",
            hint="export it with its weights inside, a bundle is one file",
        )


def _read(path: Path | Traversable, name: str, *, max_bytes: int) -> tuple[bytes, dict[str, int]]:
    """Return the content of ``name`` and the sizes of all files inside the bundle."""
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            num_bytes = stream.seek(0, os.SEEK_END)
            sizes = list_archive(archive, path=str(path), num_bytes=num_bytes)
            if name not in sizes:
                raise BundleInvalidError(f"{path}: has no {name}", hint=_HINT)
            if sizes[name] > max_bytes:
                raise BundleInvalidError(
                    f"{path}: {name} has {sizes[name]} bytes, at most {max_bytes} were expected",
                    hint=_HINT,
                )
            return _read_member(archive, name, path), sizes
    except FileNotFoundError as error:
        raise BundleMissingError(f"{path}: no such file", hint="check the path") from error
    except OSError as error:
        raise BundleMissingError(
            f"{path}: cannot be read ({error.strerror or error})", hint="check path and rights"
        ) from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise BundleInvalidError(f"{path}: is not a bundle ({error})", hint=_HINT) from error


def _read_member(archive: zipfile.ZipFile, name: str, path: Path | Traversable) -> bytes:
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, EOFError) as error:
        raise BundleTamperedError(f"{path}: {name!r} is damaged ({error})", hint=_HINT) from error


def _replace(path: Path, files: Mapping[str, bytes]) -> None:
    """Write beside ``path`` and rename, so that a crash never leaves half a bundle."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be written ({error.strerror or error})",
            hint="check that the folder exists and is yours",
        ) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            write_archive(stream, files)
        # mkstemp makes private files; a bundle is as readable as any other new file.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
