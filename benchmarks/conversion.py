"""What fp16 and int8 of the shipped float32 file cost in depth, beside ONNX Runtime's own float16 converter.

    python -m benchmarks.conversion

On the model's self-test images, all run by ONNX Runtime on the CPU.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from recon3d_ros.core.model import read_model_info
from recon3d_ros.core.self_test import read_self_test
from recon3d_ros.engines import default_model_path, load_engine
from recon3d_ros.engines.convert import convert_model
from recon3d_ros.engines.precision import names_in_float


def main() -> None:
    path = default_model_path()
    info = read_model_info(path)
    test = read_self_test(path, info)
    expected = load_engine(path).infer(test.images, test.focals).depth
    files = {precision: convert_model(path, info, precision) for precision in ("fp16", "int8")}
    files["fp16 by ONNX Runtime's converter"] = converted_by_onnx_runtime(path)
    print("| | MB | Cast nodes | mean difference of depth | 99th percentile |\n|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            file = Path(folder) / "converted.onnx"
            file.write_bytes(content)
            found = load_engine(file).infer(test.images, test.focals).depth
            difference = np.abs(found / expected - 1)
            casts = sum(node.op_type == "Cast" for node in onnx.load_from_string(content).graph.node)
            print(
                f"| {name} | {len(content) / 1e6:.1f} | {casts} | {difference.mean():.3%} | "
                f"{np.percentile(difference, 99):.2%} |"
            )


def converted_by_onnx_runtime(path: Path) -> bytes:
    """Returns the model file with the same part of the graph in float16."""
    model = onnx.load(path)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    half = convert_float_to_float16(
        model,
        keep_io_types=True,
        op_block_list=[],
        node_block_list=names_in_float(model.graph.node, keep_last=False),
    )
    digest = hashlib.sha256(half.graph.SerializeToString(deterministic=True)).hexdigest()
    del half.metadata_props[:]
    onnx.helper.set_model_props(half, {**properties, "sha256": digest})
    return bytes(half.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
