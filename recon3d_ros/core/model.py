"""What a model file says of itself: the one-file contract, read without any inference run time.

Every network is one ONNX file: `image` uint8 [B, h, w, 3] RGB and `focal` float32 [B] (fx in pixels at h x w)
go in; `depth` float32 [B, h, w] metres along z and, where it has one, `confidence` float32 [B, h, w] in 0..1 come
out. Normalisation, activation and focal scaling are inside the graph. `metadata_props` says the rest.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recon3d_ros.core.model_list import LIST_NAME, listed_sha256

ELEMENT_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16", 11: "float64"}
METADATA_KEYS = (
    "name", "version", "is_metric", "min_depth", "max_depth", "sha256", "training_data", "licence", "author",
)  # fmt: skip
REPAIR = "write it with 'python -m training.export' or 'recon3d import' (training/README.md)"


class ModelError(ValueError):
    """A model file that is missing, damaged, or does not keep the one-file contract."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph: `shape` holds an int where fixed, a name where dynamic."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class ModelInfo:
    """A model file's own description.

    Attributes:
        name, version, training_data, licence, author: as the exporter wrote them.
        is_metric: whether `depth` is in metres; False means it is right up to an unknown factor.
        min_depth, max_depth: the range the network can express, metres. `depth >= max_depth` means that
            nothing was in range (sky).
        sha256: of the graph's bytes, verified on reading.
        height, width: the network's input size, pixels.
        inputs, outputs: the graph's tensors by name.
    """

    name: str
    version: str
    is_metric: bool
    min_depth: float
    max_depth: float
    sha256: str
    training_data: str
    licence: str
    author: str
    height: int
    width: int
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    @property
    def has_confidence(self) -> bool:
        return "confidence" in self.outputs


def read_model_info(path: Path | str) -> ModelInfo:
    """Returns what the model file says of itself, after checking it against the one-file contract.

    Raises:
        ModelError: if the file is missing, empty, truncated, not ONNX, not the one that the list of checksums in
            its folder names, or differs from the contract; the message names the file, what was found and what was
            expected.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); give the path of a model file") from error
    if not data:
        raise ModelError(f"{path}: is empty; {REPAIR}")
    _check_listed(path, data)
    try:
        graph, metadata = _read_model_proto(data)
        inputs, outputs = _read_graph_io(graph)
    except (IndexError, ValueError) as error:
        raise ModelError(f"{path}: is not an ONNX file that can be used ({error}); {REPAIR}") from error
    if not graph:
        raise ModelError(f"{path}: is not an ONNX file (no graph in it); {REPAIR}")
    _check_tensors(path, inputs, outputs)
    _check_metadata(path, metadata, hashlib.sha256(graph).hexdigest())
    shape = inputs["image"].shape
    try:
        min_depth, max_depth = float(metadata["min_depth"]), float(metadata["max_depth"])
    except ValueError as error:
        raise ModelError(f"{path}: min_depth or max_depth is not a number ({error}); {REPAIR}") from error
    if not (0 <= min_depth < max_depth and math.isfinite(max_depth)):
        raise ModelError(f"{path}: depth range is {min_depth}..{max_depth} m, expected 0 <= min < max; {REPAIR}")
    return ModelInfo(
        name=metadata["name"],
        version=metadata["version"],
        is_metric=metadata["is_metric"] == "true",
        min_depth=min_depth,
        max_depth=max_depth,
        sha256=metadata["sha256"],
        training_data=metadata["training_data"],
        licence=metadata["licence"],
        author=metadata["author"],
        height=int(shape[1]),
        width=int(shape[2]),
        inputs=inputs,
        outputs=outputs,
    )


def read_metadata(path: Path | str) -> dict[str, str]:
    """Returns every metadata_props entry of a model file.

    Raises:
        ModelError: if the file cannot be read or is not ONNX.
    """
    try:
        return _read_model_proto(Path(path).read_bytes())[1]
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); give the path of a model file") from error
    except (IndexError, ValueError) as error:
        raise ModelError(f"{path}: is not an ONNX file that can be used ({error}); {REPAIR}") from error


def _check_listed(path: Path, data: bytes) -> None:
    try:
        listed = listed_sha256(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: the list of checksums in its folder cannot be used ({error})") from error
    found = hashlib.sha256(data).hexdigest() if listed else ""
    if listed != found:
        raise ModelError(
            f"{path}: its sha256 is {found[:12]}..., {LIST_NAME} in its folder says {listed[:12]}...; fetch the "
            f"file again, or if it was changed on purpose write its new line: sha256sum {path.name}"
        )


def _check_tensors(path: Path, inputs: dict[str, TensorSpec], outputs: dict[str, TensorSpec]) -> None:
    image = inputs.get("image")
    size = image.shape[1:3] if image is not None and len(image.shape) == 4 and image.shape[3] == 3 else ("h", "w")
    depth = TensorSpec("depth", "float32", ("B", *size))
    expected_inputs = [TensorSpec("image", "uint8", ("B", *size, 3)), TensorSpec("focal", "float32", ("B",))]
    confidence = TensorSpec("confidence", "float32", ("B", *size))
    _check_names(path, "input", inputs, required=expected_inputs, optional=[])
    if not all(isinstance(length, int) and length > 0 for length in size):
        raise ModelError(f"{path}: input 'image' is {image}, expected a fixed height and width; {REPAIR}")
    _check_names(path, "output", outputs, required=[depth], optional=[confidence])


def _check_names(
    path: Path, kind: str, found: dict[str, TensorSpec], *, required: list[TensorSpec], optional: list[TensorSpec]
) -> None:
    allowed = {spec.name: spec for spec in required + optional}
    names = [spec.name for spec in required]
    if not set(names) <= set(found) <= set(allowed):
        raise ModelError(f"{path}: has the {kind}s {sorted(found)}, expected {names}; {REPAIR}")
    for name, spec in found.items():
        wanted = allowed[name]
        is_batched = bool(spec.shape) and isinstance(spec.shape[0], str)
        if spec.dtype != wanted.dtype or spec.shape[1:] != wanted.shape[1:] or not is_batched:
            raise ModelError(f"{path}: {kind} '{name}' is {spec}, expected {wanted}; {REPAIR}")


def _check_metadata(path: Path, metadata: dict[str, str], graph_sha256: str) -> None:
    missing = [key for key in METADATA_KEYS if key not in metadata]
    if missing:
        raise ModelError(f"{path}: metadata lacks {', '.join(missing)}; {REPAIR}")
    if metadata["is_metric"] not in ("true", "false"):
        raise ModelError(f"{path}: is_metric is '{metadata['is_metric']}', expected 'true' or 'false'; {REPAIR}")
    if metadata["sha256"] != graph_sha256:
        raise ModelError(
            f"{path}: the graph's sha256 is {graph_sha256[:12]}..., its metadata says "
            f"{metadata['sha256'][:12]}...; the file is damaged or was changed after export"
        )


def _read_model_proto(data: bytes) -> tuple[bytes, dict[str, str]]:
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


def _read_graph_io(graph: bytes) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
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
