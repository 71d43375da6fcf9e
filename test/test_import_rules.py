"""The rules between the rooms: who may import whom, and that the package loads without its optional pieces."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "recon3d_ros"
ROS_PACKAGES = {"rclpy", "tf2_ros", "cv_bridge", "sensor_msgs_py", "message_filters", "rosidl_runtime_py"}
# What `import onnxruntime` and its like stand at the top of; all other engine files load without any run time.
NEED_A_RUN_TIME = {"onnxruntime", "openvino", "precision", "fold", "half_graph", "int8_graph"}
OPTIONAL = [
    "rclpy",
    "torch",
    "tensorrt",
    "tensorrt_rtx",
    "cuda",
    "onnx",
    "onnxruntime",
    "openvino",
    "open3d",
    "rosbags",
    "sensor_msgs",
    "yaml",
    "numba",
    "trimesh",
]


def imports_of(path: Path) -> set[str]:
    """Returns the absolute names of the modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the module's full name"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def files_of(folder: str) -> list[Path]:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files, f"no Python file in {folder}"
    return files


def is_within(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def is_standard(name: str) -> bool:
    return name.split(".")[0] in sys.stdlib_module_names


def is_message_package(name: str) -> bool:
    top = name.split(".")[0]
    return top.endswith(("_msgs", "_interfaces", "_srvs"))


def offenders(folder: str, is_allowed: object) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files_of(folder)
        for name in sorted(imports_of(path))
        if not is_allowed(path, name)
    ]


def test_core_imports_the_standard_library_numpy_opencv_yaml_and_itself() -> None:
    allowed = {"numpy", "cv2", "numba", "yaml", f"{PACKAGE}.core"}
    # Optional libraries, each imported inside a function of the files that need it.
    optional = {"fusion": {"open3d", "libusb_package"}, "mesh_files": {"trimesh"}}
    assert not offenders(
        f"{PACKAGE}/core",
        lambda path, name: is_standard(name) or is_within(name, allowed | optional.get(path.stem, set())),
    )


def test_an_engine_imports_core_and_the_one_run_time_that_its_file_names() -> None:
    allowed = {"numpy", f"{PACKAGE}.core", f"{PACKAGE}.engines"}
    # Graphs of another precision are written with onnx, int8 ranges measured by ONNX Runtime's quantiser.
    converters = {name: {"onnx"} for name in ("precision", "fold", "half_graph")}
    converters["int8_graph"] = {"onnx", "onnxruntime"}
    assert not offenders(
        f"{PACKAGE}/engines",
        lambda path, name: (
            is_standard(name) or is_within(name, {*allowed, path.stem, *converters.get(path.stem, ())})
        ),
    )


def test_run_times_of_the_gpu_are_imported_by_name_in_one_file_each() -> None:
    # Most machines have neither, and one adapter takes both flavours of TensorRT: importlib, and no statement.
    gpu = {"tensorrt", "tensorrt_rtx", "cuda"}
    assert not offenders(PACKAGE, lambda path, name: not is_within(name, gpu))
    assert {path.name for path in files_of(PACKAGE) if '"cuda.' in path.read_text()} == {"cuda.py"}


def test_only_ros_imports_ros() -> None:
    def is_allowed(path: Path, name: str) -> bool:
        in_ros = path.parts[len(ROOT.parts) + 1] == "ros"
        return in_ros or not (is_within(name, ROS_PACKAGES) or is_message_package(name))

    assert not offenders(PACKAGE, is_allowed)


def test_bags_know_no_ros_and_import_only_core() -> None:
    allowed = {f"{PACKAGE}.core", f"{PACKAGE}.bags"}
    assert not offenders(
        f"{PACKAGE}/bags", lambda path, name: not is_within(name, {PACKAGE}) or is_within(name, allowed)
    )


def test_ros_does_not_import_the_tools() -> None:
    assert not offenders(f"{PACKAGE}/ros", lambda path, name: not is_within(name, {f"{PACKAGE}.tools"}))


def test_only_tools_import_the_ros_room() -> None:
    def is_allowed(path: Path, name: str) -> bool:
        room = path.parts[len(ROOT.parts) + 1]
        return room in ("ros", "tools") or not is_within(name, {f"{PACKAGE}.ros"})

    assert not offenders(PACKAGE, is_allowed)


def test_the_node_needs_neither_tools_nor_bags() -> None:
    waiting, reached = [ROOT / PACKAGE / "ros" / "depth_node.py"], set()
    while waiting:
        path = waiting.pop()
        reached.add(path)
        for name in imports_of(path):
            assert not is_within(name, {f"{PACKAGE}.tools", f"{PACKAGE}.bags", "rosbags"}), (
                f"{path.relative_to(ROOT)} imports {name}"
            )
            candidates = (
                ROOT.joinpath(*parts).with_suffix(".py") for parts in (name.split("."), name.split(".")[:-1])
            )
            waiting.extend(file for file in candidates if file.is_file() and file not in reached)
    assert ROOT / PACKAGE / "ros" / "messages.py" in reached


def test_the_package_imports_neither_torch_nor_training() -> None:
    forbidden = {"torch", "training", "onnxscript"}
    assert not offenders(PACKAGE, lambda path, name: not is_within(name, forbidden))


def test_only_what_writes_models_needs_onnx_and_it_is_imported_when_asked_for() -> None:
    # import_model and convert reach for these inside functions, so that neither a command's help nor the node
    # needs onnx before a model is to be changed.
    users = {"tools.onnx_source", "tools.onnx_wrapper"}
    users |= {"engines.fold", "engines.half_graph", "engines.int8_graph", "engines.precision"}
    files = {f"{user.split('.')[1]}.py" for user in users}
    assert not offenders(PACKAGE, lambda path, name: not is_within(name, {"onnx"}) or path.name in files)
    importers = {
        path.name
        for path in files_of(PACKAGE)
        if any(is_within(name, {f"{PACKAGE}.{user}" for user in users}) for name in imports_of(path))
    }
    assert importers == {"import_model.py", "onnx_source.py", "convert.py", "precision.py"}


def test_training_imports_only_core_engines_and_bags_of_the_package() -> None:
    allowed = {f"{PACKAGE}.core", f"{PACKAGE}.engines", f"{PACKAGE}.bags"}
    assert not offenders("training", lambda path, name: not is_within(name, {PACKAGE}) or is_within(name, allowed))


@pytest.mark.parametrize("room", ["core", "engines"])
def test_the_package_loads_where_every_optional_piece_is_absent(room: str) -> None:
    files = [
        path for path in files_of(f"{PACKAGE}/{room}") if room != "engines" or path.stem not in NEED_A_RUN_TIME
    ]
    modules = [PACKAGE, *(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files)]
    # None in sys.modules makes an import fail as if the package were not installed.
    code = (
        f"import sys, importlib\n"
        f"sys.modules.update(dict.fromkeys({OPTIONAL}))\n"
        f"for name in {modules}: importlib.import_module(name)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
