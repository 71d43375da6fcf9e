"""What a model file says of itself: the one-file contract, read without any inference run time.

Every network is one ONNX file: `image` uint8 [B, h, w, 3] RGB and `focal` float32 [B] (fx in pixels at h x w)
go in; `depth` float32 [B, h, w] metres along z and, where it has one, `confidence` float32 [B, h, w] in 0..1 come
out. h and w are fixed, or free in multiples of 32: then the metadata `size` gives the default, such as "640x192"
(width x height). Normalisation, activation and focal scaling are inside the graph. `metadata_props` says the rest.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path

from recon3d_ros.core.model_list import LIST_NAME, listed_sha256
from recon3d_ros.core.onnx_bytes import TensorSpec, read_graph_io, read_model_proto

METADATA_KEYS = (
    "name", "version", "is_metric", "min_depth", "max_depth", "sha256", "training_data", "licence", "author",
)  # fmt: skip
SIZE_KEY = "size"  # of the metadata: the default size of a model whose height and width are free
SIZE_STEP = 32  # what free heights and widths are multiples of, pixels
MAX_PIXELS = 4096 * 4096  # of a fixed or default size; a damaged or hostile one must not fill the memory
REPAIR = "write it with 'python -m training.export' or 'recon3d import' (training/README.md)"


class ModelError(ValueError):
    """A model file that is missing, damaged, or does not keep the one-file contract."""


@dataclass(frozen=True)
class ModelInfo:
    """A model file's own description.

    Attributes:
        name, version, training_data, licence, author: as the exporter wrote them.
        is_metric: whether `depth` is in metres; False means it is right up to an unknown factor.
        min_depth, max_depth: the range the network can express, metres. `depth >= max_depth` means that
            nothing was in range (sky).
        sha256: of the graph's bytes, verified on reading.
        height, width: the network's input size, pixels; the default one where it is free.
        inputs, outputs: the graph's tensors by name.
        has_free_size: whether it takes images of any height and width in multiples of SIZE_STEP.
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
    has_free_size: bool = False

    @property
    def has_confidence(self) -> bool:
        return "confidence" in self.outputs

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width

    def takes_size(self, size: tuple[int, int]) -> bool:
        """Whether the model takes images of this (height, width)."""
        if self.has_free_size:
            return min(size) > 0 and all(length % SIZE_STEP == 0 for length in size)
        return size == self.size

    def at_size(self, size: tuple[int, int] | None) -> ModelInfo:
        """Returns the model as it is when used at one (height, width) alone; None takes its own or default size.

        Raises:
            ModelError: the model does not take images of this size.
        """
        height, width = size or self.size
        if not self.takes_size((height, width)):
            expected = f"multiples of {SIZE_STEP}" if self.has_free_size else f"{self.width}x{self.height}"
            raise ModelError(f"{self.name}: the size is {width}x{height} (width x height), expected {expected}")
        return replace(self, height=height, width=width, has_free_size=False)


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
        graph, metadata = read_model_proto(data)
        inputs, outputs = read_graph_io(graph)
    except (IndexError, ValueError) as error:
        raise ModelError(f"{path}: is not an ONNX file that can be used ({error}); {REPAIR}") from error
    if not graph:
        raise ModelError(f"{path}: is not an ONNX file (no graph in it); {REPAIR}")
    _check_tensors(path, inputs, outputs)
    _check_metadata(path, metadata, hashlib.sha256(graph).hexdigest())
    height, width, has_free_size = _read_size(path, inputs["image"], metadata)
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
        height=height,
        width=width,
        inputs=inputs,
        outputs=outputs,
        has_free_size=has_free_size,
    )


def parse_size(text: str) -> tuple[int, int]:
    """Returns the (height, width) of a free model's size, "WIDTHxHEIGHT".

    Raises:
        ValueError: the text is no size in multiples of SIZE_STEP, or has more than MAX_PIXELS; the message says
            what was expected.
    """
    parts = text.split("x")
    if len(parts) == 2 and all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        width, height = map(int, parts)
        is_multiple = width % SIZE_STEP == 0 and height % SIZE_STEP == 0
        if 0 < width * height <= MAX_PIXELS and is_multiple:
            return height, width
    raise ValueError(
        f"'{text}', expected WIDTHxHEIGHT in multiples of {SIZE_STEP}, such as 640x192, and at most {MAX_PIXELS} "
        "pixels"
    )


def read_metadata(path: Path | str) -> dict[str, str]:
    """Returns every metadata_props entry of a model file.

    Raises:
        ModelError: if the file cannot be read or is not ONNX.
    """
    try:
        return read_model_proto(Path(path).read_bytes())[1]
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
    is_fixed = all(isinstance(length, int) and length > 0 for length in size)
    names = [length for length in size if isinstance(length, str)]
    is_free = "?" not in names and len({inputs["image"].shape[0], *names}) == 3
    if not is_fixed and not is_free:
        raise ModelError(
            f"{path}: input 'image' is {image}, expected a fixed height and width, or both free, under two names "
            f"of their own; {REPAIR}"
        )
    _check_names(path, "output", outputs, required=[depth], optional=[confidence])


def _read_size(path: Path, image: TensorSpec, metadata: dict[str, str]) -> tuple[int, int, bool]:
    """Returns height, width and whether they are free, of an input that _check_tensors has passed."""
    height, width = image.shape[1:3]
    if isinstance(height, int) and isinstance(width, int):
        if height * width > MAX_PIXELS:
            raise ModelError(f"{path}: input 'image' is {image}, expected at most {MAX_PIXELS} pixels; {REPAIR}")
        return height, width, False
    if SIZE_KEY not in metadata:
        raise ModelError(
            f"{path}: input 'image' is {image} and the metadata lacks '{SIZE_KEY}', expected the default size of "
            f"its free height and width, such as '640x192' (width x height); {REPAIR}"
        )
    try:
        height, width = parse_size(metadata[SIZE_KEY])
    except ValueError as error:
        raise ModelError(f"{path}: {SIZE_KEY} is {error}; {REPAIR}") from error
    return height, width, True


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
