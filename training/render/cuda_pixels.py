"""The functions of pixels.py as CUDA kernels, one thread a pixel. Needs an NVIDIA GPU and numba's CUDA target."""

from __future__ import annotations

from numba import cuda

from training.render.pixels import locate_one, shade_one, soften_one

THREADS = 128


@cuda.jit
def _locate(skin, eyes, rays, depth, triangle, bary, points, normals):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < depth.shape[0]:
        locate_one(i, skin, eyes, rays, depth, triangle, bary, points, normals)


@cuda.jit
def _shade(  # type: ignore[no-untyped-def]
    skin, street, light, atlas, eyes, forwards, pixel_sizes,
    rays, depth, triangle, bary, sunlit, openness, radiance,
):  # fmt: skip
    i = cuda.grid(1)
    if i < depth.shape[0]:
        shade_one(
            i, skin, street, light, atlas, eyes, forwards, pixel_sizes,
            rays, depth, triangle, bary, sunlit, openness, radiance,
        )  # fmt: skip


@cuda.jit
def _soften(points, eyes, rays, triangle, radiance, W, H, soft):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < triangle.shape[0]:
        soften_one(i, points, eyes, rays, triangle, radiance, W, H, soft)


KERNELS = {"locate": _locate, "shade": _shade, "soften": _soften}


def launch(name: str, count: int, *args: object) -> None:
    """Runs a kernel for `count` pixels on the stream that torch uses by default.

    Args:
        args: device arrays, tuples of them, and numbers.
    """
    KERNELS[name][-(-count // THREADS), THREADS](*args)
