"""Matrix products: matmul in every broadcast form, linear layers, einsum, grouped products."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ...errors import GraphError
from ..loopnest import Work, nest
from .base import Body, Shape, Type, broadcast, operator


def compute_dtype(x: Type, w: Type, attrs: Mapping[str, Any]) -> str:
    """Type that a product is done in: the one asked for, else that of the activations (weight-only quantization)."""
    return str(attrs.get("compute_dtype") or x[1])


def dequantization(w: Type, elements: float, dtype: str) -> tuple[Work, ...]:
    """Work of turning weights of a narrower type into ``dtype`` on the way in: a scale and a shift an element."""
    return () if w[1] == dtype else (Work("vector", 2 * elements, dtype),)


# -- matmul --------------------------------------------------------------------------------------------------------


def _matmul_shapes(inputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Shape, Shape]:
    """Both shapes with transposes undone and vectors made matrices."""
    a, b = inputs[0][0], inputs[1][0]
    a = (1, *a) if len(a) == 1 else a
    b = (*b, 1) if len(b) == 1 else b
    if attrs.get("transpose_a"):
        a = (*a[:-2], a[-1], a[-2])
    if attrs.get("transpose_b"):
        b = (*b[:-2], b[-1], b[-2])
    if a[-1] != b[-2]:
        raise GraphError("inner extents differ", found=f"{inputs[0][0]} x {inputs[1][0]}")
    return a, b


def _matmul_infer(inputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Type, ...]:
    a, b = _matmul_shapes(inputs, attrs)
    rows = a[-2:-1] if len(inputs[0][0]) > 1 else ()
    columns = b[-1:] if len(inputs[1][0]) > 1 else ()
    return (((*broadcast(a[:-2], b[:-2]), *rows, *columns), attrs.get("out_dtype") or inputs[0][1]),)


@operator("matmul", "contraction", _matmul_infer)
def matmul(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """``a[..., m, k] b[..., k, n] (+ c)``; batch axes broadcast. attrs: transpose_a, transpose_b, compute_dtype.

    Batch axes that only ``a`` has are folded into ``m``, as every library does for a shared right operand.
    """
    a, b = _matmul_shapes(inputs, attrs)
    m, k, n = a[-2], a[-1], b[-1]
    batch_a, batch_b = math.prod(a[:-2]), math.prod(b[:-2])
    batch = math.prod(broadcast(a[:-2], b[:-2]))
    if batch_b == 1:
        m, batch = m * batch, 1
    elif batch_a == 1 and batch > 1:
        n, batch = n * batch, 1
    dtype = compute_dtype(inputs[0], inputs[1], attrs)
    dims = {"b": batch, "m": m, "n": n, "k": k}
    sizes = {"in0": math.prod(a), "in1": math.prod(b)}
    extra = dequantization(inputs[1], sizes["in1"], dtype)
    einsum = "in0[b,m,k], in1[b,k,n] -> out0[b,m,n]"
    dtypes = {"in0": inputs[0][1], "in1": inputs[1][1], "out0": outputs[0][1]}
    if len(inputs) > 2:  # Gemm's C, or a bias
        einsum = "in0[b,m,k], in1[b,k,n], in2[b,m,n] -> out0[b,m,n]"
        dtypes["in2"], sizes["in2"] = inputs[2][1], math.prod(inputs[2][0])
        extra += (Work("vector", batch * m * n, outputs[0][1]),)
    return (nest(einsum, dims, dtypes, unit="matrix", ops_per_point=2, dtype=dtype, sizes=sizes, extra=extra),)


# -- linear --------------------------------------------------------------------------------------------------------


def _linear_infer(inputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Type, ...]:
    (x, dtype), (w, _) = inputs[0], inputs[1]
    if len(w) != 2 or x[-1] != w[1]:
        raise GraphError("a linear layer's weight must be [features, k]", found=f"x {x}, weight {w}")
    return (((*x[:-1], w[0]), attrs.get("out_dtype") or dtype),)


@operator("linear", "contraction", _linear_infer)
def linear(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """``x[..., k] w[n, k]^T (+ bias[n])``. attrs: compute_dtype, out_dtype."""
    x, w = inputs[0], inputs[1]
    dims = {"m": math.prod(x[0][:-1]), "n": w[0][0], "k": w[0][1]}
    dtype = compute_dtype(x, w, attrs)
    dtypes = {"in0": x[1], "in1": w[1], "out0": outputs[0][1]}
    extra = dequantization(w, dims["n"] * dims["k"], dtype)
    einsum = "in0[m,k], in1[n,k] -> out0[m,n]"
    if len(inputs) > 2:
        einsum = "in0[m,k], in1[n,k], in2[n] -> out0[m,n]"
        dtypes["in2"] = inputs[2][1]
        extra += (Work("vector", dims["m"] * dims["n"], outputs[0][1]),)
    return (nest(einsum, dims, dtypes, unit="matrix", ops_per_point=2, dtype=dtype, extra=extra),)


# -- grouped products (experts) ------------------------------------------------------------------------------------


def _grouped_infer(inputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Type, ...]:
    (x, dtype), (w, _) = inputs[0], inputs[1]
    if len(w) != 3 or len(x) != 2 or x[1] != w[2]:
        raise GraphError("a grouped linear layer takes x[rows, k] and w[groups, n, k]", found=f"x {x}, weight {w}")
    return (((x[0], w[1]), attrs.get("out_dtype") or dtype),)


def expected_groups(groups: int, picks: int, per_token: int) -> int:
    """Experts that some of ``picks`` assignments reach, each token picking ``per_token`` distinct ones evenly.

    ``E (1 - (1 - k/E)^T)`` for T tokens of k picks among E experts, rounded up.
    """
    tokens = picks / per_token
    reached: float = groups * (1 - (1 - per_token / groups) ** tokens)
    return max(1, min(groups, picks, math.ceil(reached)))


@operator("grouped_linear", "contraction", _grouped_infer)
def grouped_linear(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """Rows sorted by group, each times its group's matrix: ``x[rows, k] w[groups, n, k]^T (+ bias[groups, n])``.

    attrs: top_k (rows a token was copied to), compute_dtype, out_dtype. Experts that no row reaches are not read.
    """
    x, w = inputs[0], inputs[1]
    rows, (groups, n, k) = x[0][0], w[0]
    active = expected_groups(groups, rows, attrs.get("top_k", 1))
    per_group = math.ceil(rows / active)
    dims = {"g": active, "m": per_group, "n": n, "k": k}
    dtype = compute_dtype(x, w, attrs)
    dtypes = {"in0": x[1], "in1": w[1], "out0": outputs[0][1]}
    extra = dequantization(w, active * n * k, dtype)
    einsum = "in0[g,m,k], in1[g,n,k] -> out0[g,m,n]"
    if len(inputs) > 2:
        einsum = "in0[g,m,k], in1[g,n,k], in2[g,n] -> out0[g,m,n]"
        dtypes["in2"] = inputs[2][1]
        extra += (Work("vector", rows * n, outputs[0][1]),)
    sizes = {"in0": rows * k, "out0": rows * n}
    density = rows / (active * per_group)
    return (nest(einsum, dims, dtypes, unit="matrix", ops_per_point=2, dtype=dtype, density=density, sizes=sizes,
                 extra=extra),)  # fmt: skip


# -- einsum --------------------------------------------------------------------------------------------------------


def _terms(equation: str, shapes: tuple[Shape, ...]) -> tuple[list[str], str]:
    """Subscripts of every operand and of the result, ellipses written out."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise GraphError("einsum names another number of operands than it is given", found=equation)
    wide = max(
        (len(s) - len(t.replace("...", "")) for t, s in zip(terms, shapes, strict=True) if "..." in t), default=0
    )
    letters = "ABCDEFGHIJ"[:wide]
    for i, (term, shape) in enumerate(zip(terms, shapes, strict=True)):
        missing = len(shape) - len(term.replace("...", ""))
        terms[i] = term.replace("...", letters[wide - missing :] if missing else "")
        if len(terms[i]) != len(shape):
            raise GraphError("einsum subscripts do not fit the operand", found=f"{term} for {shape}")
    if not arrow:
        counts = "".join(terms)
        result = letters + "".join(sorted(c for c in set(counts) if counts.count(c) == 1 and c not in letters))
    return terms, result.replace("...", letters)


def _extents(terms: list[str], shapes: tuple[Shape, ...]) -> dict[str, int]:
    extents: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, extent in zip(term, shape, strict=True):
            if extents.setdefault(letter, extent) != extent and 1 not in (extents[letter], extent):
                raise GraphError("einsum extents differ", found=f"{letter}: {extents[letter]} and {extent}")
            extents[letter] = max(extents[letter], extent)
    return extents


def _einsum_infer(inputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Type, ...]:
    shapes = tuple(t[0] for t in inputs)
    terms, result = _terms(attrs["equation"], shapes)
    extents = _extents(terms, shapes)
    if unknown := set(result) - set(extents):
        raise GraphError("einsum result uses a subscript that no operand has", found="".join(sorted(unknown)))
    return ((tuple(extents[letter] for letter in result), inputs[0][1]),)


@lru_cache(maxsize=1024)
def _pairwise(terms: tuple[str, ...], result: str, extents: tuple[tuple[str, int], ...]) -> tuple[tuple[int, ...], ...]:
    """The order in which to contract, by NumPy's exact search."""
    import numpy as np

    sizes = dict(extents)
    dummies = [np.broadcast_to(np.float32(0), tuple(sizes[letter] for letter in term)) for term in terms]
    path, _ = np.einsum_path(",".join(terms) + "->" + result, *dummies, optimize="optimal")
    return tuple(tuple(step) for step in path[1:])


@operator("einsum", "contraction", _einsum_infer)
def einsum(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """Any einsum; more than two operands are contracted in pairs, in the order that costs least.

    attrs: equation, compute_dtype, density (share of the points that a mask leaves).
    """
    shapes = tuple(t[0] for t in inputs)
    terms, result = _terms(attrs["equation"], shapes)
    extents = _extents(terms, shapes)
    dtype = compute_dtype(inputs[0], inputs[-1], attrs)
    live = [(term, f"in{i}", t[1]) for i, (term, t) in enumerate(zip(terms, inputs, strict=True))]
    bodies: list[Body] = []
    for step in _pairwise(tuple(terms), result, tuple(sorted(extents.items()))):
        picked = [live.pop(i) for i in sorted(step, reverse=True)][::-1]
        needed = set(result).union(*(term for term, _, _ in live))
        used = "".join(dict.fromkeys("".join(term for term, _, _ in picked)))
        kept = "".join(letter for letter in used if letter in needed) if live else result
        target = "out0" if not live else f"partial{len(bodies)}"
        reads = ", ".join(f"{name}[{','.join(term)}]" for term, name, _ in picked)
        product = len(picked) > 1
        bodies.append(
            nest(f"{reads} -> {target}[{','.join(kept)}]", {letter: extents[letter] for letter in used},
                 {**{name: kind for _, name, kind in picked}, target: outputs[0][1]},
                 unit="matrix" if product and set(used) - set(kept) else "vector",
                 ops_per_point=2 if product and set(used) - set(kept) else 1, dtype=dtype,
                 density=float(attrs.get("density", 1.0)))
        )  # fmt: skip
        live.append((kept, target, outputs[0][1]))
    return tuple(bodies)
