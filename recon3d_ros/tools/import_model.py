"""recon3d import: make a public depth network's ONNX file, or Keras model, keep the one-file contract."""

from __future__ import annotations

import argparse
import importlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.atomic_file import open_atomically
from recon3d_ros.core.model import ModelError
from recon3d_ros.core.self_test import drive_self_test, self_test_metadata
from recon3d_ros.engines import Engine, EngineError, load_engine
from recon3d_ros.tools.keras_model import is_keras_model, keras_to_onnx

# Mean and standard deviation of RGB in 0..1.
NORMALISATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "0-1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "0-255": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}
OUTPUT_KINDS = ("depth", "inverse_depth", "disparity")
LAYOUTS = ("NCHW", "NHWC")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `recon3d import`."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="an .onnx file; a .keras, .h5 or SavedModel")
    parser.add_argument("out", type=Path, metavar="OUT.onnx", help="the one-file model to write")
    parser.add_argument(
        "--normalise", type=parse_normalisation, required=True, metavar="HOW",
        help=f"{', '.join(NORMALISATIONS)}; or mean,std or r,g,b,r,g,b (means, then deviations) of RGB in 0..1",
    )  # fmt: skip
    parser.add_argument("--output", choices=OUTPUT_KINDS, required=True, help="what the network gives out")
    scale = parser.add_mutually_exclusive_group(required=True)
    scale.add_argument(
        "--metric", action="store_true", dest="is_metric", help="it is in metres (1/metres, pixels)"
    )
    scale.add_argument("--relative", action="store_false", dest="is_metric", help="its scale is not known")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the output first (default: 1)")
    parser.add_argument("--shift", type=float, default=0.0, help="is added to it then (default: 0)")
    parser.add_argument(
        "--focal-canonical", type=float, metavar="PX",
        help="focal length, in pixels of the network's input, at which its depth is right",
    )  # fmt: skip
    parser.add_argument("--baseline", type=float, metavar="M", help="metres, to make depth of a stereo disparity")
    parser.add_argument("--layout", choices=LAYOUTS, default="NCHW", help="of the input (default: NCHW)")
    parser.add_argument("--size", type=parse_size, metavar="HxW", help="of the image (default: the network's own)")
    parser.add_argument(
        "--resize-output", action="store_true", help="resize the output where its size is not the image's"
    )
    parser.add_argument("--output-name", metavar="NAME", help="the output to use, where there is more than one")
    parser.add_argument("--min-depth", type=float, default=0.1, help="metres (default: 0.1)")
    parser.add_argument("--max-depth", type=float, default=100.0, help="metres; no depth in range (default: 100)")
    parser.add_argument("--name", help="default: the name of OUT")
    parser.add_argument("--version", default="1")
    parser.add_argument("--training-data", default="not stated")
    parser.add_argument("--licence", default="not stated")
    parser.add_argument("--author", default="not stated")


def main(args: argparse.Namespace) -> int:
    """Runs `recon3d import`."""
    try:
        importlib.import_module("onnx")
    except ImportError as error:
        raise ModelError("importing a model needs the onnx package; pip install onnx") from error
    if args.model.resolve() == args.out.resolve():
        raise ModelError(f"{args.out}: is the file to import; give the result another name")
    check_options(args)
    with tempfile.TemporaryDirectory() as folder:
        source: Path = args.model
        if is_keras_model(source):
            source = keras_to_onnx(source, Path(folder) / "keras.onnx")
        try:
            content = wrapped(source, args)
        except ModelError as error:
            raise ModelError(f"{args.model}: {error}") from error
    depth = write_checked(args.out, content)
    info = load_engine(args.out).info
    at_limit = float(np.mean((depth <= info.min_depth) | (depth >= info.max_depth)))
    print(f"{args.out}: {info.name}, {info.width}x{info.height}, {len(content) / 1e6:.1f} MB")
    print(f"depth of a made image: median {np.nanmedian(depth):.3g}, {at_limit:.0%} of it at the range's limits")
    if at_limit > 0.5:
        print("note: most depth is at a limit; check --output, --normalise, --scale, --min-depth and --max-depth")
    return 0


def check_options(args: argparse.Namespace) -> None:
    """Raises ModelError where options contradict each other."""
    if not 0 <= args.min_depth < args.max_depth < float("inf"):
        raise ModelError(f"depth range is {args.min_depth}..{args.max_depth} m, expected 0 <= min < max")
    needs_baseline = args.output == "disparity" and args.is_metric
    if needs_baseline != (args.baseline is not None):
        raise ModelError("'--output disparity --metric' needs '--baseline METRES', and nothing else does")
    if args.focal_canonical is not None and (not args.is_metric or args.output == "disparity"):
        raise ModelError("'--focal-canonical' is for metric depth and inverse_depth alone")
    for name in ("scale", "baseline", "focal_canonical"):
        value = getattr(args, name)
        if value is not None and not (np.isfinite(value) and value != 0 and (value > 0 or name == "scale")):
            raise ModelError(f"'--{name.replace('_', '-')}' is {value}, expected more than 0 (a scale: not 0)")


def wrapped(source: Path, args: argparse.Namespace) -> bytes:
    """Returns the one-file model of an ONNX file.

    Raises:
        ModelError: it cannot be read, is not of one image in and depth out, or an option does not fit it.
    """
    from recon3d_ros.tools import onnx_source, onnx_wrapper

    network = onnx_source.read_network(source, layout=args.layout, size=args.size, output_name=args.output_name)
    height, width = args.size or (network.height, network.width)
    if (network.output_height, network.output_width) != (height, width) and not args.resize_output:
        raise ModelError(
            f"its output is {network.output_height}x{network.output_width}, the image {height}x{width} "
            "(height x width); give '--resize-output' to resize it"
        )
    mean, std = args.normalise
    conversion = onnx_wrapper.Conversion(
        height=height,
        width=width,
        mean=mean,
        std=std,
        kind=args.output,
        scale=args.scale,
        shift=args.shift,
        canonical_focal=args.focal_canonical,
        baseline=args.baseline,
        min_depth=args.min_depth,
        max_depth=args.max_depth,
    )
    metadata = {
        "name": args.name or args.out.stem,
        "version": args.version,
        "is_metric": str(args.is_metric).lower(),
        "min_depth": str(args.min_depth),
        "max_depth": str(args.max_depth),
        "training_data": args.training_data,
        "licence": args.licence,
        "author": args.author,
        **self_test_metadata(drive_self_test(height=height, width=width)),
    }
    return onnx_wrapper.write_bytes(onnx_wrapper.wrap(network, conversion), network.model, metadata)


def write_checked(out: Path, content: bytes) -> npt.NDArray[np.float32]:
    """Writes the file and runs it; it takes its name only when it keeps the contract.

    Returns:
        (h, w) float32, the depth of a made image.

    Raises:
        ModelError, EngineError: it does not run, or not as a batch of any size; nothing is left behind.
    """
    with open_atomically(out) as file:
        file.write(content)
        file.flush()
        try:
            depth = _run_batches(load_engine(file.name))
        except (ModelError, EngineError) as error:
            raise type(error)(str(error).replace(file.name, f"the wrapped {out.name}")) from error
    return depth


def _run_batches(engine: Engine) -> npt.NDArray[np.float32]:
    """Returns the depth of one image, after checking that a batch gives what its images give one by one."""
    height, width = engine.info.height, engine.info.width
    rng = np.random.default_rng(0)
    ramp = np.linspace(220, 60, height)[None, :, None, None]
    images = np.clip(ramp + rng.normal(0, 40, (2, height, width, 3)), 0, 255).astype(np.uint8)
    focals = np.array([400.0, 700.0], np.float32)
    singles: list[npt.NDArray[np.float32]] = [
        engine.infer(images[i : i + 1], focals[i : i + 1]).depth for i in range(2)
    ]
    if singles[0].shape != (1, height, width):
        raise ModelError(f"depth is {singles[0].shape}, expected {(1, height, width)}")
    if not np.isfinite(singles[0]).any():
        raise ModelError("depth is not a number at any pixel of a made image; check '--normalise' and '--layout'")
    advice = "the graph's batch cannot be made free; export the network with a dynamic batch, then import it"
    try:
        batch = engine.infer(images, focals).depth
    except EngineError as error:
        raise ModelError(f"it runs one image and not two ({str(error).splitlines()[0]}): {advice}") from error
    if batch.shape != (2, height, width) or not np.allclose(
        batch, np.concatenate(singles), rtol=1e-3, equal_nan=True
    ):
        raise ModelError(f"a batch of two images gives another depth than the images one by one: {advice}")
    depth: npt.NDArray[np.float32] = singles[0][0]
    return depth


def parse_normalisation(text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns (mean, std) of a name in NORMALISATIONS, of "mean,std" or of three means and three deviations."""
    if text in NORMALISATIONS:
        return NORMALISATIONS[text]
    try:
        values = [float(item) for item in text.split(",")]
    except ValueError:
        values = []
    if len(values) == 2:
        values = [values[0]] * 3 + [values[1]] * 3
    if len(values) != 6 or not all(np.isfinite(values)) or min(values[3:]) <= 0:
        raise argparse.ArgumentTypeError(
            f"'{text}', expected {', '.join(NORMALISATIONS)}, or two or six numbers with deviations above 0"
        )
    return tuple(values[:3]), tuple(values[3:])


def parse_size(text: str) -> tuple[int, int]:
    """Returns (height, width) of "HxW"."""
    parts: Sequence[str] = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"'{text}', expected HxW, such as 192x640")
    return int(parts[0]), int(parts[1])
