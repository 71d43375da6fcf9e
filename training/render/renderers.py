"""What can draw a street: rays by Embree, or triangles by torch on a CPU or a GPU."""

from __future__ import annotations

from importlib.util import find_spec

RENDERERS = ("embree", "cpu", "cuda")


def check_renderer(renderer: str) -> None:
    """Makes sure that a renderer can work here.

    Raises:
        ValueError: It is none of RENDERERS, its library is not installed, or there is no GPU.
    """
    if renderer.partition(":")[0] not in RENDERERS:
        raise ValueError(f"renderer is {renderer!r}, expected one of {RENDERERS}, or cuda:N")
    if renderer == "embree" and find_spec("embreex") is None:
        raise ValueError(
            "renderer embree: embreex is not installed; pip install -r requirements/training.txt, or take "
            "renderer cpu, which needs twice the time, or cuda"
        )
    if renderer.startswith("cuda"):
        import torch
        from numba import cuda

        found = torch.cuda.is_available(), cuda.is_available() and find_spec("numba_cuda") is not None
        if not all(found):
            raise ValueError(
                f"renderer {renderer}: torch finds a GPU: {found[0]}, numba-cuda: {found[1]}; both must "
                "(pip install 'numba-cuda[cu13]'), or take renderer cpu or embree"
            )
