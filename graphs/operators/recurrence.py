"""Recurrent cells, state-space scans and linear attention."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import GraphError
from ..loopnest import Work, nest
from .base import Access, Body, Counts, Type, operator, same, size

Attrs = Mapping[str, Any]
Types = tuple[Type, ...]


def _dtypes(inputs: Types, outputs: Types, **more: str) -> dict[str, str]:
    return {f"in{i}": t[1] for i, t in enumerate(inputs)} | {"out0": outputs[0][1]} | more


# -- cells ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Cell:
    """Gates, states, and vector and special operations a hidden element and step (sigmoid: exponential, division)."""

    gates: int
    states: int
    vector: int
    special: int


_CELLS = {"lstm": _Cell(4, 2, 11, 8), "gru": _Cell(3, 1, 10, 5), "rnn": _Cell(1, 1, 1, 1)}


@dataclass(frozen=True, slots=True)
class _Sizes:
    steps: int
    batch: int
    width: int
    hidden: int
    directions: int


def _cell_sizes(kind: str, inputs: Types, attrs: Attrs) -> _Sizes:
    x, gates = inputs[0][0], _CELLS[kind].gates
    if len(inputs) < 3 or len(x) != 3:
        raise GraphError("wants x[steps, batch, width], input weights and recurrent weights", where=kind, found=x)
    if attrs.get("layers", 1) != 1:
        raise GraphError("one op is one layer", where=kind, found=attrs["layers"], expected="layers=1, an op a layer")
    steps, batch = (x[1], x[0]) if attrs.get("batch_first") else (x[0], x[1])
    s = _Sizes(steps, batch, x[2], attrs["hidden"], attrs.get("directions", 1))
    for name, tensor, fan_in in (("input", inputs[1], s.width), ("recurrent", inputs[2], s.hidden)):
        if size(tensor) != s.directions * gates * s.hidden * fan_in:
            raise GraphError(f"{name} weights do not fit", where=kind, found=tensor[0],
                             expected=f"({s.directions}, {gates * s.hidden}, {fan_in})")  # fmt: skip
    return s


def _cell(kind: str, inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    cell, s, dtype = _CELLS[kind], _cell_sizes(kind, inputs, attrs), inputs[0][1]
    rows = s.directions * cell.gates * s.hidden
    biases = [i for i, t in enumerate(inputs) if i > 2 and len(t[0]) < 3 and size(t) % rows == 0]
    states = [i for i, t in enumerate(inputs) if i > 2 and t[0] == (s.directions, s.batch, s.hidden)]
    dtypes = {f"in{i}": t[1] for i, t in enumerate(inputs)} | {"gates": dtype, "state": dtype, "out0": outputs[0][1]}
    dims = {"t": s.steps, "b": s.batch, "d": s.directions, "n": cell.gates * s.hidden}
    product = "".join([f"in0[{'b,t' if attrs.get('batch_first') else 't,b'},i], in1[d,n,i]",
                       *(f", in{i}[d,n]" for i in biases), " -> gates[t,b,d,n]"])  # fmt: skip
    added = (Work("vector", math.prod(dims.values()), dtype),) if biases else ()
    previous = f"in{states[0]}" if states else "state"
    held = "".join(f", in{i}[d,b,k]" for i in states[1:])
    chain = f"{previous}[d,b,k], in2[d,n,k], gates[t,b,d,n]{held} -> out0[t,b,d,n]"
    elements = s.steps * s.batch * s.directions * s.hidden
    pointwise = Work("vector", cell.vector * elements, dtype), Work("special", cell.special * elements, dtype)
    written = elements + sum(size(t) for t in outputs[1:])
    return (
        nest(product, {**dims, "i": s.width}, dtypes, unit="matrix", ops_per_point=2, dtype=dtype, extra=added),
        nest(chain, {**dims, "k": s.hidden}, dtypes, unit="matrix", ops_per_point=2, dtype=dtype, extra=pointwise,
             sizes={"out0": written}, serial=s.steps),
    )  # fmt: skip


def _register_cell(kind: str) -> None:
    def infer(inputs: Types, attrs: Attrs) -> Types:
        s, dtype = _cell_sizes(kind, inputs, attrs), inputs[0][1]
        rows = (s.batch, s.steps) if attrs.get("batch_first") else (s.steps, s.batch)
        state: Type = ((s.directions, s.batch, s.hidden), dtype)
        return (((*rows, s.directions * s.hidden), dtype), *(state,) * _CELLS[kind].states)

    def describe(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
        return _cell(kind, inputs, outputs, attrs)

    cell = _CELLS[kind]
    describe.__doc__ = (
        f"One {kind.upper()} layer: ``x[steps, batch, width], w_input, w_recurrent (, biases, initial states)`` to all "
        f"hidden states and the last.\n\nThe input product of all steps is one contraction; the recurrent product is a "
        f"chain of as many steps, {cell.gates} gates wide, with {cell.vector} vector and {cell.special} special "
        f"operations a hidden element (as cuDNN does it: Appleyard et al., arXiv:1604.01946).\n"
        f"attrs: hidden, directions (default 1), batch_first, layers (1: an op a layer)."
    )
    operator(kind, "recurrence", infer)(describe)


for _kind in _CELLS:
    _register_cell(_kind)


# -- Mamba-1 -------------------------------------------------------------------------------------------------------


def _scan_infer(inputs: Types, attrs: Attrs) -> Types:
    shapes = [t[0] for t in inputs]
    x, a = shapes[0], shapes[2] if len(shapes) > 4 else ()
    if len(x) != 3 or len(a) != 2 or shapes[1] != x or a[0] != x[2] or {shapes[3], shapes[4]} != {(*x[:2], a[1])}:
        raise GraphError("wants x[b,s,d], dt[b,s,d], A[d,n], B[b,s,n], C[b,s,n] (, state[b,d,n])",
                         where="selective_scan", found=shapes)  # fmt: skip
    return same(inputs, attrs)


@operator("selective_scan", "recurrence", _scan_infer)
def selective_scan(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``x[b,s,d], dt[b,s,d], A[d,n], B[b,s,n], C[b,s,n] (, D[d]) (, state[b,d,n])`` to ``y`` like ``x`` (Mamba).

    Gu and Dao, arXiv:2312.00752, section 3.3.2: one kernel that keeps the state on chip. A state element costs, a step,
    dt A, its exponential, dt B x, the state's update (two) and the sum over C (two): 6 and one special. Steps are
    scanned in parallel within pieces of 2048, one piece after the other. A state is read and written.
    """
    (b, s, d), n, dtype = inputs[0][0], inputs[2][0][1], inputs[0][1]
    reads, writes = "in0[b,s,d], in1[b,s,d], in2[d,n], in3[b,s,n], in4[b,s,n]", "out0[b,s,d]"
    for i, (shape, _) in enumerate(inputs[5:], 5):
        reads += f", in{i}[d]" if len(shape) == 1 else f", in{i}[b,d,n]"
        writes += f", in{i}[b,d,n]" if len(shape) == 3 else ""
    dims = {"b": b, "s": s, "d": d, "n": n}
    extra = Work("special", b * s * d * n, dtype), Work("vector", b * s * d * 3, dtype)
    return (nest(f"{reads} -> {writes}", dims, _dtypes(inputs, outputs), ops_per_point=6, dtype=dtype, extra=extra,
                 serial=math.ceil(s / 2048), coupled=("s",)),)  # fmt: skip


# -- chunked linear recurrences ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Linear:
    """A linear recurrence over a matrix state: ``S_t = decay S_(t-1) + k_t v_t^T, y_t = S_t^T q_t``.

    Each of ``groups`` query/key heads serves ``heads / groups`` value heads. ``steps_first`` tells [b, s, heads, d]
    from [b, heads, s, d]. ``q, k, v`` are names of operands, ``gates`` and ``state`` numbers of inputs.
    """

    batch: int
    steps: int
    groups: int
    heads: int
    keys: int
    values: int
    chunk: int
    steps_first: bool
    q: str
    k: str
    v: str
    gates: tuple[int, ...]
    wide_gate: bool
    delta: bool
    state: int | None

    @property
    def chunks(self) -> int:
        return math.ceil(self.steps / self.chunk)

    @property
    def pairs(self) -> int:
        """(query, key) pairs within the chunks, no key after its query, of one head."""
        whole, rest = divmod(self.steps, self.chunk)
        return whole * self.chunk * (self.chunk + 1) // 2 + rest * (rest + 1) // 2

    @property
    def inversion(self) -> int:
        """Multiply-adds of inverting the unit triangular matrix of each chunk, of one head: L (L^2 - 1) / 6."""
        whole, rest = divmod(self.steps, self.chunk)
        return whole * self.chunk * (self.chunk**2 - 1) // 6 + rest * (rest**2 - 1) // 6

    @property
    def rows(self) -> int:
        return self.batch * self.heads * self.steps

    def at(self, name: str, t: str, d: str) -> str:
        """Operand ``name`` at step ``t`` of a chunk: per query/key head for d = k, per value head for d = v."""
        own = name in (self.v, "out0", "offset", "w", "u", "fresh", "decay")
        head = f"{self.heads // self.groups}*g+r" if own else "g"
        step = f"{self.chunk}*c+{t}" if self.chunks > 1 else t
        index = f"b,{step},{head}" if self.steps_first else f"b,{head},{step}"
        return f"{name}[{index},{d}]" if d else f"{name}[{index}]"

    def dims(self, used: str) -> dict[str, int]:
        extents = {"b": self.batch, "c": self.chunks, "g": self.groups, "r": self.heads // self.groups, "k": self.keys,
                   "v": self.values, "i": self.chunk, "j": self.chunk}  # fmt: skip
        return {dim: extents[dim] for dim in used}


_BETWEEN = ("queries", "keys", "scores", "states", "carried", "offset", "decay", "w", "u", "fresh", "mixing", "inverse",
            "again")  # fmt: skip


def _chunked(p: _Linear, inputs: Types, outputs: Types) -> tuple[Body, ...]:
    """The kernels of the chunked form, one nest each."""
    dtype = inputs[0][1]
    dtypes = _dtypes(inputs, outputs, **dict.fromkeys(_BETWEEN, dtype))
    key_size, value_size = p.batch * p.groups * p.steps * p.keys, p.rows * p.values
    sizes = {p.q: key_size, p.k: key_size, "w": p.rows * p.keys, "decay": p.rows, "again": 1} | dict.fromkeys(
        (p.v, "out0", "offset", "u", "fresh"), value_size)  # fmt: skip
    triangle = p.pairs / (p.chunks * p.chunk**2)
    filled = p.steps / (p.chunks * p.chunk)

    def product(reads: str, writes: str, used: str, density: float, vector: float = 0, special: float = 0,
                serial: int = 1) -> Body:  # fmt: skip
        extra = tuple(w for w in (Work("vector", vector, dtype), Work("special", special, dtype)) if w.ops)
        return nest(f"{reads} -> {writes}", p.dims(used), dtypes, unit="matrix", ops_per_point=2, dtype=dtype,
                    density=density, extra=extra, sizes=sizes, serial=serial)  # fmt: skip

    q, k, v = p.at(p.q, "i", "k"), p.at(p.k, "j", "k"), p.at("fresh" if p.delta else p.v, "j", "v")
    decayed = bool(p.gates) and not p.wide_gate
    decay_i, decay_j = (f", {p.at('decay', t, '')}" if decayed else "" for t in "ij")
    pair_heads = p.batch * p.heads * p.pairs
    bodies = _gating(p, inputs)
    if p.delta:
        keys_i = p.at(p.k, "i", "k").replace(p.k, "again", 1)
        bodies += [
            product(f"{k}, {keys_i}", "mixing[b,c,g,i,j]", "bcgijk", triangle),
            _square_inverse(p, dtype),
            product(f"inverse[b,c,g,r,i,j], {k}", p.at("w", "i", "k"), "bcgrijk", triangle, p.rows * p.keys),
            product(f"inverse[b,c,g,r,i,j], {p.at(p.v, 'j', 'v')}", p.at("u", "i", "v"), "bcgrijv", triangle,
                    value_size),
            product(f"{p.at('w', 'j', 'k')}, carried[b,c,g,r,k,v], {p.at('u', 'j', 'v')}", p.at("fresh", "j", "v"),
                    "bcgrjkv", filled, value_size, serial=p.chunks),
        ]  # fmt: skip
    serial = p.chunks if p.delta else 1
    bodies += [
        product(f"{q}, {k}", "scores[b,c,g,i,j]", "bcgijk", triangle),
        product(f"{k}, {v}{decay_j}", "states[b,c,g,r,k,v]", "bcgrjkv", filled, value_size * decayed, p.rows * decayed,
                serial),
        _passing(p, inputs, dtypes),
        product(f"{q}, carried[b,c,g,r,k,v]{decay_i}", p.at("offset", "i", "v"), "bcgrikv", filled,
                value_size * decayed, p.rows * decayed),
        product(f"scores[b,c,g,i,j], {v}, {p.at('offset', 'i', 'v')}{decay_i}", p.at("out0", "i", "v"), "bcgrijv",
                triangle, value_size + 2 * pair_heads * decayed, pair_heads * decayed),
    ]  # fmt: skip
    return tuple(bodies)


def _gating(p: _Linear, inputs: Types) -> list[Body]:
    """Running decays of each chunk; a gate for each key element is folded into queries and keys."""
    if not p.gates:
        return []
    dtype = inputs[0][1]
    gates = tuple(Access(f"in{i}", size(inputs[i]), inputs[i][1]) for i in p.gates)
    elements = sum(gate.elements for gate in gates)
    works: tuple[Work, ...] = (Work("vector", 2 * elements, dtype), Work("special", elements, dtype))
    writes: tuple[Access, ...] = (Access("decay", p.rows, dtype, True),)
    if p.wide_gate:
        rows = p.batch * p.groups * p.steps * p.keys
        gates += Access("in0", rows, dtype), Access("in1", rows, dtype)
        writes = Access("queries", rows, dtype, True), Access("keys", rows, dtype, True)
        works += Work("vector", 2 * rows, dtype), Work("special", rows, dtype)
    return [Counts((*gates, *writes), works, parallel=p.batch * p.heads * p.chunks)]


def _square_inverse(p: _Linear, dtype: str) -> Body:
    """Forward substitution of the unit lower triangular matrix of each chunk and head."""
    cells = p.batch * p.chunks * p.chunk**2
    reads, writes = Access("mixing", cells * p.groups, dtype), Access("inverse", cells * p.heads, dtype, True)
    works = (Work("matrix", 2 * p.inversion * p.batch * p.heads, dtype),
             Work("vector", p.pairs * p.batch * p.heads, dtype))  # fmt: skip
    return Counts((reads, writes), works, parallel=p.batch * p.heads * p.chunks, serial=min(16, p.chunk))


def _passing(p: _Linear, inputs: Types, dtypes: Mapping[str, str]) -> Body:
    """The state handed from chunk to chunk: decayed, and the chunk's own added."""
    dims = {"c": p.chunks, "n": p.batch * p.heads * p.keys * p.values}
    held = f"in{p.state}[n]" if p.state is not None else ""
    reads, writes = "states[c,n]" + (held and f", {held}"), "carried[c,n]" + (held and f", {held}")
    return nest(f"{reads} -> {writes}", dims, dtypes, ops_per_point=2, dtype=inputs[0][1], serial=p.chunks,
                coupled=("c",))  # fmt: skip


def _single_pass(p: _Linear, inputs: Types, outputs: Types, works: tuple[Work, ...], serial: int) -> tuple[Body, ...]:
    """One kernel that reads every input and writes the result once, the state on chip in between."""
    moved = [Access(f"in{i}", size(t), t[1]) for i, t in enumerate(inputs)]
    moved.append(Access("out0", size(outputs[0]), outputs[0][1], True))
    if p.state is not None:
        moved.append(Access(f"in{p.state}", size(inputs[p.state]), inputs[p.state][1], True))
    return (Counts(tuple(moved), works, p.batch * p.heads * math.ceil(p.values / 64), serial),)


def _recurrent(p: _Linear, inputs: Types, outputs: Types) -> tuple[Body, ...]:
    """One step: outer product and its addition, sum over the query; a decay one more; a delta rule two more."""
    decays = bool(p.gates and (p.wide_gate or not p.delta or len(p.gates) > 1))
    ops = (4 + decays + 2 * p.delta) * p.batch * p.heads * p.keys * p.values
    dtype = inputs[0][1]
    gates = sum(size(inputs[i]) for i in p.gates)
    works = Work("vector", ops, dtype), *((Work("special", gates, dtype),) if gates else ())
    return _single_pass(p, inputs, outputs, works, 1)


def _linear(p: _Linear, inputs: Types, outputs: Types, fused: bool) -> tuple[Body, ...]:
    if p.steps == 1:
        return _recurrent(p, inputs, outputs)
    bodies = _chunked(p, inputs, outputs)
    if not fused:
        return bodies
    totals: dict[tuple[Any, str], float] = {}
    for work in (work for body in bodies for work in body.work()):
        totals[work.unit, work.dtype] = totals.get((work.unit, work.dtype), 0) + work.ops
    works = tuple(Work(unit, ops, dtype) for (unit, dtype), ops in totals.items())
    return _single_pass(p, inputs, outputs, works, p.chunks)


# -- Mamba-2 -------------------------------------------------------------------------------------------------------


def _ssd(inputs: Types, attrs: Attrs) -> _Linear:
    shapes = [t[0] for t in inputs]
    x, b = shapes[0], shapes[2] if len(shapes) > 3 else ()
    if (len(x), len(b)) != (4, 4) or 0 in x + b or (shapes[1], shapes[3], b[:2]) != (x[:3], b, x[:2]) or x[2] % b[2]:
        raise GraphError("wants x[b,s,heads,p], dt[b,s,heads], B and C[b,s,groups,n] (, state[b,heads,p,n])",
                         where="ssd", found=shapes)  # fmt: skip
    state = next((i for i, shape in enumerate(shapes) if i > 3 and len(shape) == 4), None)
    return _Linear(x[0], x[1], b[2], x[2], b[3], x[3], min(attrs.get("chunk", 256), max(1, x[1])), True, "in3", "in2",
                   "in0", (1,), False, False, state)  # fmt: skip


def _ssd_infer(inputs: Types, attrs: Attrs) -> Types:
    _ssd(inputs, attrs)
    return same(inputs, attrs)


def _ssd_fused(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    return _linear(_ssd(inputs, attrs), inputs, outputs, True)


@operator("ssd", "recurrence", _ssd_infer, fused=_ssd_fused)
def ssd(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``x[b,s,h,p], dt[b,s,h], B[b,s,g,n], C[b,s,g,n] (, A[h], D[h]) (, state[b,h,p,n])`` to ``y`` like ``x``.

    Mamba-2 (arXiv:2405.21060, section 6 and listing 1) in chunks of L steps: scores C B^T, their product with x within
    a chunk, the chunks' states, their chain, its part of the result. Multiply-adds a sequence, T the pairs within
    chunks (about s L / 2): T (g n + h p) + 2 s h p n. One step: the recurrence, 5 operations a state element.
    A state is read and written. attrs: chunk (default 256). Fused: one kernel, the state on chip.
    """
    return _linear(_ssd(inputs, attrs), inputs, outputs, False)


# -- linear attention ----------------------------------------------------------------------------------------------

_GATES = {"linear": 0, "gla": 1, "rwkv": 1, "delta": 1, "gated_delta": 2}


def _attention(inputs: Types, attrs: Attrs) -> _Linear:
    shapes = [t[0] for t in inputs]
    rule = attrs.get("rule", "linear")
    if rule not in _GATES:
        raise GraphError("unknown rule", where="linear_attention", found=rule, choices=_GATES)
    q, v = shapes[0], shapes[2] if len(shapes) > 2 else ()
    if len(q) != 4 or len(v) != 4 or 0 in q + v or shapes[1] != q or (v[0], v[2]) != (q[0], q[2]) or v[1] % q[1]:
        raise GraphError("wants q[b,h,s,dk], k like q, v[b,h,s,dv]; the heads of v a multiple of those of q",
                         where="linear_attention", found=shapes)  # fmt: skip
    state: int | None = len(shapes) - 1
    if (
        shapes[-1] != (v[0], v[1], q[3], v[3])
        or len(shapes) < 4
        or (shapes[-1] == q and len(shapes) <= 3 + _GATES[rule])
    ):
        state = None
    gates = tuple(i for i in range(3, len(shapes)) if i != state)
    wide = any(len(shapes[i]) == 4 and shapes[i][2] == q[2] for i in gates)
    k = ("queries", "keys") if wide else ("in0", "in1")
    return _Linear(q[0], q[2], q[1], v[1], q[3], v[3], min(attrs.get("chunk", 64), max(1, q[2])), False, *k, "in2",
                   gates, wide, "delta" in rule, state)  # fmt: skip


def _attention_infer(inputs: Types, attrs: Attrs) -> Types:
    _attention(inputs, attrs)
    return ((inputs[2][0], inputs[0][1]),)


def _attention_fused(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    return _linear(_attention(inputs, attrs), inputs, outputs, True)


@operator("linear_attention", "recurrence", _attention_infer, fused=_attention_fused)
def linear_attention(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``q[b,h,s,dk], k, v[b,h,s,dv] (, gates...) (, state[b,h,dk,dv])`` to ``[b,h,s,dv]``; v may have more heads.

    In chunks of L steps; multiply-adds a head, T the pairs within chunks (about s L / 2): T (dk + dv) + 2 s dk dv
    (GLA, arXiv:2312.06635, section 4; RWKV-6, arXiv:2404.05892). A delta rule adds T (2 dk + dv) + s dk dv and the
    inverse of a triangle, L (L^2 - 1) / 6 a chunk (arXiv:2406.06484, section 3; gated, arXiv:2412.06464, section 3).
    One step: the recurrence. Gates: one number a step ``[b,h,s]`` (decay, beta), or one a key element ``[b,h,s,dk]``.
    attrs: rule (linear, gla, rwkv, delta, gated_delta), chunk (default 64). Fused: one kernel, the state on chip.
    """
    return _linear(_attention(inputs, attrs), inputs, outputs, False)
