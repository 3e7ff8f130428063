"""Where published lower bounds and explicit schedules contradict each other, at sizes too large to replay.

The loads and stores of a schedule can be counted block by block; the same schedules are replayed at small sizes.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ....errors import OptionError
from .bounds import lower
from .comparison import KERNELS
from .kernel import Kernel, number
from .triangle import cholesky_moves, syrk_moves

PANEL = "8*(isqrt(S + 1) - 1)"
"""Columns of a panel of Cholesky: many times a tile's edge, so that the rest of the matrix passes few times."""

_INNER = "(j//(8*t) == k//(8*t))"
CHOLESKY_PANELS = replace(
    KERNELS["cholesky"],
    schedule={
        "S0": f"k//(8*t), 1 - {_INNER}*1, where({_INNER}, j//t, trailing_block(i, j, k, N, 8*t, S)), "
              f"where({_INNER}, i//t, 0), k, 2, i, j",
        "S1": "j//(8*t), 0, j//t, i//t, j, 1, i, 0",
        "S2": (f"k//(8*t), 1 - {_INNER}*1, where({_INNER}, j//t, trailing_block(i, j, k, N, 8*t, S)), "
               f"where({_INNER}, i//t, 0), k, 2, i, j").replace("j", "i"),
        "S3": "i//(8*t), 0, i//t, i//t, i, 0, i, 0",
    },
)  # fmt: skip
"""Cholesky with triangle blocks right of each panel; worth it for N far above sqrt(S)."""


def schedule_moves(name: str, p: dict[str, int], fast: int) -> int:
    """Loads and stores of the triangle-block schedule of a symmetric kernel.

    ``covariance`` and ``correlation`` add the passes over the data (2 or 3 in, 1 out) and both triangles of the result.
    """
    if name == "syrk":
        return syrk_moves(p["N"], p["M"], fast)
    if name == "syr2k":
        return syrk_moves(p["N"], p["M"], fast, 2)
    if name == "cholesky":
        return cholesky_moves(p["N"], fast, int(number(PANEL, {"S": fast})))
    passes = {"covariance": 3, "correlation": 4}[name]
    m = p["M"]
    return syrk_moves(m, p["N"], fast) - m * (m + 1) + m**2 + passes * (p["N"] + 1) * m


def disputed(fast: int = 821, scale: int = 150) -> list[dict[str, Any]]:
    """The symmetric kernels at large sizes: bounds, published values, and what an explicit schedule moves.

    Args:
        fast: fast memory, elements.
        scale: every size is this many times ``sqrt(fast)``.

    Returns:
        A line a kernel with ``name``, ``parameters``, ``fast``, ``ours``, ``schedule``, ``iolb``, ``soap`` (values) and
        ``contradicted``: the published formulas above the schedule's count.
    """
    if fast < 8 or scale < 2:
        raise OptionError("too small to compare leading terms", where="disputed", found=f"fast={fast}, scale={scale}",
                          expected="fast of at least 8, scale of at least 2")  # fmt: skip
    size = round(scale * math.sqrt(fast))
    lines = []
    for name in ("cholesky", "correlation", "covariance", "syr2k", "syrk"):
        k: Kernel = KERNELS[name]
        p = k.parameters(dict.fromkeys(k.sizes, size))
        moved = schedule_moves(name, p, fast)
        values = {text: number(text, {**p, "S": fast}) for text in (k.iolb, *k.soap)}
        lines.append({
            "name": name, "parameters": p, "fast": fast, "ours": lower(k, p, fast)[0], "schedule": moved,
            "iolb": values[k.iolb], "soap": [values[text] for text in k.soap],
            "contradicted": [text for text, value in values.items() if moved < value],
        })  # fmt: skip
    return lines
