"""The bytes of an ONNX file, as far as the one-file contract needs them: read without any library of ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

ELEMENT_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16", 11: "float64"}


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph: `shape` holds an int where fixed, a name where dynamic."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


def read_model_proto(data: bytes) -> tuple[bytes, dict[str, str]]:
    """Returns the bytes of ModelProto.graph (field 7) and its metadata_props (field 14)."""
    graph, metadata = b"", {}
    for field, value in _fields(data):
        if field == 7 and isinstance(value, bytes):
            if graph:
                raise ValueError("it holds two graphs, of which only one could be verified")
            graph = value
        elif field == 14 and isinstance(value, bytes):
            pair = {number: item for number, item in _fields(value) if isinstance(item, bytes)}
            metadata[pair.get(1, b"").decode()] = pair.get(2, b"").decode()
    return graph, metadata


def read_graph_io(graph: bytes) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    """Returns GraphProto.input (field 11) and GraphProto.output (field 12) by name.

    Raises:
        ValueError: if the bytes are damaged, or an initializer (field 5) has its weights in another file
            (TensorProto.external_data, field 13), which the graph's hash would not cover.
    """
    inputs: dict[str, TensorSpec] = {}
    outputs: dict[str, TensorSpec] = {}
    for field, value in _fields(graph):
        if field == 5 and any(number == 13 for number, _ in _fields(_message(value))):
            raise ValueError("its weights are in another file; one file is one model")
        if field in (11, 12) and isinstance(value, bytes):
            spec = _read_value_info(value)
            (inputs if field == 11 else outputs)[spec.name] = spec
    return inputs, outputs


def _read_value_info(data: bytes) -> TensorSpec:
    """Returns the name, element type and shape of a ValueInfoProto."""
    value_info = dict(_fields(data))
    tensor_type = dict(_fields(_message(dict(_fields(_message(value_info.get(2)))).get(1))))
    shape: list[int | str] = []
    for field, dimension in _fields(_message(tensor_type.get(2))):
        if field == 1:
            length = dict(_fields(_message(dimension)))
            fixed, name = length.get(1), length.get(2)
            shape.append(fixed if isinstance(fixed, int) else _message(name).decode() or "?")
    element_type = tensor_type.get(1)
    dtype = ELEMENT_TYPES.get(element_type if isinstance(element_type, int) else 0, f"type {element_type!r}")
    return TensorSpec(_message(value_info.get(1)).decode(), dtype, tuple(shape))


def _message(value: bytes | int | None) -> bytes:
    return value if isinstance(value, bytes) else b""


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yields (number, value) of each field of a protocol buffer message.

    Source: the protocol buffer wire format (protobuf.dev/programming-guides/encoding).
    """
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire_type == 2:
            length, position = _varint(data, position)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"wire type {wire_type} at byte {position}")
        if position + length > len(data):
            raise ValueError(f"field {number} ends {position + length - len(data)} bytes after the file")
        yield number, data[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"varint of more than 10 bytes at byte {position}")
