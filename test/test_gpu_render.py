"""The renderer on a GPU: `pytest -m gpu`. Without one the kernels run small in numba's simulator."""

from __future__ import annotations

import types

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; see requirements/training.txt")
numba = pytest.importorskip("numba", reason="numba is not installed; see requirements/training.txt")

from gpu_rendering import (  # noqa: E402
    CPU,
    box_scene,
    check_precision,
    draw,
    find_gpu,
    kernel_arguments,
    on_gpu_or_simulator,
)
from numba import cuda  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from training.distributed import Ranks  # noqa: E402
from training.render.live import LiveSamples  # noqa: E402
from training.stream import MixedSamples, live_source, load_batches  # noqa: E402

pytestmark = pytest.mark.gpu


def test_a_street_of_the_gpu_is_that_of_the_cpu() -> None:
    on_gpu_or_simulator("check_street")


def test_tf32_and_bfloat16_do_not_reach_the_renderer() -> None:
    check_precision(find_gpu() or CPU, box_scene(), width=160, height=48)


def test_the_renderer_leaves_no_product_to_a_library_that_may_round_it() -> None:
    """As a GPU that TF32 would change need not be there, torch's operations are looked at too."""
    with Operations() as operations:
        draw(find_gpu() or CPU, box_scene(), width=160, height=48)
    assert "scatter_reduce_" in operations.names
    products = ("mm", "bmm", "addmm", "baddbmm", "mv", "dot", "convolution", "linear", "linalg_inv_ex")
    assert not operations.names.intersection(products)


class Operations(TorchDispatchMode):
    """Keeps the names of torch's operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.names.add(operation.overloadpacket.__name__)
        return operation(*args, **(kwargs or {}))


def test_loading_processes_render_the_frames_of_this_one_beside_its_network() -> None:
    """Spawned workers draw on the GPU that this process uses too; without one, on the CPU."""
    renderer = "cpu" if find_gpu() is None else "cuda"
    network = torch.nn.Conv2d(3, 8, 3).to(renderer)
    samples = MixedSamples([live_source(renderer=renderer)], width=64, height=32, seed=5)
    assert samples.uses_gpu == (renderer == "cuda")
    workers = 2 if renderer == "cuda" else 1
    batches = load_batches(samples, first=0, batch_size=2, workers=workers, ranks=Ranks(), pin_memory=False)
    batch = next(batches)
    batches.close()
    assert torch.isfinite(network(batch["image"].permute(0, 3, 1, 2).float().to(renderer))).all()
    expected = LiveSamples(width=64, height=32, seed=5, renderer=renderer).__getitems__([0, 1])
    for k, sample in enumerate(expected):
        for name, value in sample.items():
            np.testing.assert_array_equal(batch[name][k], value, err_msg=name)


def test_the_kernels_compile_to_the_machine_code_of_an_h100(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as PTX, which needs NVVM and no GPU."""
    # The CUDA target in numba itself is no longer kept up, and cannot compile min and max.
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'numba-cuda[cu13]'")
    from numba.cuda import dispatcher
    from numba.cuda.cudadrv import nvvm

    from training.render.cuda_pixels import KERNELS

    try:
        nvvm.NVVM()
    except Exception as error:  # its class differs between numba and numba-cuda
        pytest.skip(f"NVVM cannot be loaded ({type(error).__name__}): pip install 'numba-cuda[cu13]'")
    # numba asks for the current GPU even where the target is given.
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: types.SimpleNamespace(compute_capability=(9, 0)))
    arguments = kernel_arguments(box_scene())
    assert set(arguments) == set(KERNELS)
    for name, values in arguments.items():
        code, _ = cuda.compile_ptx(KERNELS[name].py_func, tuple(map(numba.typeof, values)), cc=(9, 0))
        assert ".target sm_90" in code
        assert ".entry" in code
