"""Just enough of the protobuf wire format to find tensors that live outside an ONNX file.

The light install has no ``onnx``, and ONNX Runtime would read such files from the working
directory, so a bundle made by a stranger could point a part at them. Field numbers are those
of ``onnx.proto``.
"""

from __future__ import annotations

from collections.abc import Iterator

# message -> field number -> message of that field; fields not listed are skipped.
_CHILDREN: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_MAX_DEPTH = 64


def has_external_data(model: bytes) -> bool:
    """Return whether any tensor of the serialised ONNX ``model`` lives in another file.

    Raises:
        ValueError: the bytes are not a protobuf message.
    """
    return _walk(memoryview(model), "Model", 0)


def _walk(data: memoryview, message: str, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        raise ValueError("graphs are nested too deeply")
    children = _CHILDREN[message]
    for number, value in _fields(data):
        if message == "Tensor" and (
            number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)
        ):
            return True
        child = children.get(number)
        if child is not None and not isinstance(value, memoryview):
            raise ValueError(f"field {number} of {message} is not a message")
        if child is not None and isinstance(value, memoryview) and _walk(value, child, depth + 1):
            return True
    return False


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield field number and value: an int for varints, the bytes otherwise."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"unknown wire type {kind}")
        if at + size > len(data):
            raise ValueError("a field runs past the end")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number runs past the end")
