"""How the renderer's scalar functions are compiled: once, kept on disk, with arithmetic free to be reordered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def _cache_folder() -> Path:
    """Returns a folder named after the renderer's sources.

    numba's own cache looks at the file of the function called, not at those of the functions which it calls, and
    so would go on drawing yesterday's materials.
    """
    here = Path(__file__).parent
    sources = (path.read_bytes() for path in sorted(here.glob("*.py")))
    texts = b"".join(text for text in sources if b"@compiled" in text or b"def compiled" in text)
    return here / "__pycache__" / f"compiled_{hashlib.sha256(texts).hexdigest()[:16]}"


numba.config.CACHE_DIR = str(_cache_folder())


def compiled(function: Function) -> Function:
    """Returns the function as machine code; it may call other compiled functions, also within CUDA kernels."""
    fast = {"contract", "reassoc", "arcp", "nsz", "afn"}  # infinities and NaN keep their meaning
    result: Function = numba.njit(cache=True, fastmath=fast, error_model="numpy", forceinline=True)(function)
    return result
