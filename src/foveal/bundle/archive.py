"""The container of a bundle: a zip of stored files, written the same every time, read warily.

Nothing is compressed, so the archive cannot grow when read: what its files claim to hold is
never more than the archive itself. Nothing is ever extracted to disk.
"""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import IO

import numpy as np
from numpy.lib import format as npy

from foveal.bundle.errors import BundleInvalidError, BundleTamperedError
from foveal.types import Array

MAX_FILE_BYTES = 2**31 - 1
"""Largest file inside a bundle: what one protobuf message may hold."""
MAX_MANIFEST_BYTES = 2**24
MAX_FILES = 1024

_EPOCH = (1980, 1, 1, 0, 0, 0)
_ENCRYPTED = 0x1
_HINT = "download or export the bundle again"


def write_archive(target: IO[bytes], files: Mapping[str, bytes]) -> None:
    """Write ``files`` to ``target`` in the order given, stored, with a fixed timestamp."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, date_time=_EPOCH)
            info.create_system = 3  # the same bytes on every operating system
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)


def list_archive(archive: zipfile.ZipFile, *, path: str, num_bytes: int) -> dict[str, int]:
    """Return the size in bytes of each file of ``archive``, once all its entries are checked.

    Args:
        archive: open for reading.
        path: of the archive, for messages.
        num_bytes: size of the whole archive.

    Raises:
        BundleInvalidError: a file is compressed, encrypted or listed twice, or there are too many.
        BundleTamperedError: a name leaves the archive, a file is not a plain one, or sizes lie.
    """
    entries = archive.infolist()
    if len(entries) > MAX_FILES:
        raise BundleInvalidError(f"{path}: more than {MAX_FILES} files inside", hint=_HINT)
    sizes: dict[str, int] = {}
    for entry in entries:
        name = entry.orig_filename
        mode = stat.S_IFMT(entry.external_attr >> 16)
        if not _stays_inside(name):
            raise BundleTamperedError(f"{path}: the name {name!r} leaves the archive", hint=_HINT)
        if entry.is_dir() or mode not in (0, stat.S_IFREG):
            raise BundleTamperedError(f"{path}: {name!r} is not a plain file", hint=_HINT)
        if name in sizes:
            raise BundleInvalidError(f"{path}: {name!r} is in the archive twice", hint=_HINT)
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
            raise BundleInvalidError(
                f"{path}: {name!r} is compressed or encrypted; bundles store files as they are",
                hint=_HINT,
            )
        if entry.file_size != entry.compress_size or entry.file_size > MAX_FILE_BYTES:
            raise BundleTamperedError(f"{path}: the size of {name!r} is wrong", hint=_HINT)
        sizes[name] = entry.file_size
    if sum(sizes.values()) > num_bytes:
        raise BundleTamperedError(f"{path}: its files claim more bytes than it has", hint=_HINT)
    return sizes


def _stays_inside(name: str) -> bool:
    pure = PurePosixPath(name)
    return (
        bool(name)
        and not pure.is_absolute()
        and ".." not in pure.parts
        and pure.as_posix() == name
        and not any(c in name for c in "\\:\0")
    )


def arrays_to_npz(arrays: Mapping[str, Array]) -> bytes:
    """Return ``arrays`` as the bytes of an ``.npz`` without pickles; same arrays, same bytes.

    Raises:
        ValueError: an array holds Python objects.
    """
    files: dict[str, bytes] = {}
    for name in sorted(arrays):
        buffer = io.BytesIO()
        npy.write_array(buffer, np.ascontiguousarray(arrays[name]), allow_pickle=False)
        files[f"{name}.npy"] = buffer.getvalue()
    target = io.BytesIO()
    write_archive(target, files)
    return target.getvalue()


def arrays_from_npz(raw: bytes, *, path: str) -> dict[str, Array]:
    """Return the arrays stored in ``raw``, read-only.

    Args:
        raw: what :func:`arrays_to_npz` gives.
        path: of the bundle, for messages.

    Raises:
        BundleInvalidError: not such an archive, or an array is broken or holds Python objects.
        BundleTamperedError: see :func:`list_archive`.
    """
    where = f"{path}: context.npz"
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            names = list_archive(archive, path=where, num_bytes=len(raw))
            return {name.removesuffix(".npy"): _parse_npy(archive.read(name)) for name in names}
    except (zipfile.BadZipFile, ValueError) as error:
        raise BundleInvalidError(f"{where} cannot be read ({error})", hint=_HINT) from error


def _parse_npy(raw: bytes) -> Array:
    # np.load would allocate whatever the header claims; here the claim is compared first.
    stream = io.BytesIO(raw)
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"npy version {version} is not supported")
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran_order, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("arrays of Python objects are not allowed")
    body = memoryview(raw)[stream.tell() :]
    count = 1
    for size in shape:
        count *= size
    if len(body) != count * dtype.itemsize:
        raise ValueError("an array's size does not match its shape")
    array = np.frombuffer(body, dtype=dtype, count=count)
    return array.reshape(shape, order="F" if fortran_order else "C")
