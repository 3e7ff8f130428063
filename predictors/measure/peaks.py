"""Peaks and overheads of a processor through the libraries that will run the models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .machine import best_seconds

if TYPE_CHECKING:
    from .onnx_backend import OnnxBackend
    from .torch_backend import TorchBackend

SIDE = 1024
"""Of the square products: 2 GFLOP, well within the last cache in fp32."""

CHANNELS, IMAGE = 256, 28
"""Of the 3 x 3 convolution: 1.8 GFLOP."""

TORCH_TYPES = ("fp32", "bf16", "fp64")


def product_peaks(backends: dict[str, Any], budget_s: float) -> dict[str, tuple[float, str]]:
    """Operations a second by dtype, and what reached them: the best of products and convolutions of every library."""
    works = list(_works(backends))
    found: dict[str, tuple[float, str]] = {}
    for dtype, flops, label, work in works:
        try:
            rate = flops / best_seconds(work, budget_s / len(works))
        except (RuntimeError, NotImplementedError):  # a type that the library does not compute in here
            continue
        if rate > found.get(dtype, (0.0, ""))[0]:
            found[dtype] = (rate, label)
    return found


Work = tuple[str, float, str, Callable[[], Any]]


def _works(backends: dict[str, Any]) -> Iterator[Work]:
    if "torch" in backends:
        yield from _torch_works(backends["torch"])
    if "onnxruntime" in backends:
        yield from _onnx_works(backends["onnxruntime"])
    if not backends:
        a = np.ones((SIDE, SIDE), np.float32)
        yield "fp32", 2.0 * SIDE**3, "NumPy's product", lambda: a @ a


def _torch_works(backend: TorchBackend) -> Iterator[Work]:
    torch = backend.torch
    for dtype in TORCH_TYPES:
        a, b = (torch.rand(SIDE, SIDE).to(backend.dtype(dtype)) for _ in range(2))
        yield dtype, 2.0 * SIDE**3, f"PyTorch's product of {SIDE} x {SIDE} matrices", _bound(torch.mm, a, b)
        if dtype != "fp64":
            x = torch.rand(1, CHANNELS, IMAGE, IMAGE).to(backend.dtype(dtype))
            w = torch.rand(CHANNELS, CHANNELS, 3, 3).to(backend.dtype(dtype))
            flops = 2.0 * (IMAGE - 2) ** 2 * 9 * CHANNELS**2
            yield dtype, flops, "PyTorch's 3 x 3 convolution", _bound(torch.nn.functional.conv2d, x, w)
    whole = torch.randint(-8, 8, (SIDE, SIDE), dtype=torch.int8)
    if hasattr(torch, "_int_mm"):
        yield "int8", 2.0 * SIDE**3, f"PyTorch's product of {SIDE} x {SIDE} matrices", _bound(torch._int_mm, whole,
                                                                                              whole)  # fmt: skip


def _bound(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    return lambda: function(*arguments)


def _onnx_works(backend: OnnxBackend) -> Iterator[Work]:
    from .cases import Case
    from .onnx_models import model_of

    sizes = {"batch": 1, "m": SIDE, "n": SIDE, "k": SIDE}
    model = model_of(Case("gemm", "gemm", "fp32", "warm", sizes), 1, backend.pool)
    yield "fp32", 2.0 * SIDE**3, f"ONNX Runtime's product of {SIDE} x {SIDE} matrices", backend.runner(model)


def exponentials(backends: dict[str, Any], threads: int, budget_s: float) -> float:
    """Exponentials in fp32 a second, of numbers that lie in the cache."""
    count = threads * 2**16
    if "torch" in backends:
        torch = backends["torch"].torch
        x = torch.rand(count)
        out = torch.empty_like(x)
        return count / best_seconds(lambda: torch.exp(x, out=out), budget_s)
    values = np.ones(count, np.float32)
    result = np.empty_like(values)
    return count / best_seconds(lambda: np.exp(values, out=result), budget_s)


def launch_overheads(backends: dict[str, Any], budget_s: float) -> dict[str, tuple[float, str]]:
    """Seconds of an operator on one element: called one by one (``eager``), and as a node of a session (``graph``)."""
    found = {}
    if "torch" in backends:
        torch = backends["torch"].torch
        x = torch.ones(1)

        def several() -> None:
            for _ in range(100):
                torch.add(x, x)

        with torch.inference_mode():
            found["eager"] = (best_seconds(several, budget_s) / 100, "PyTorch's sum of two numbers")
    if "onnxruntime" in backends:
        found["graph"] = (backends["onnxruntime"].node_s, "a node on one number in an ONNX Runtime session")
    return found
