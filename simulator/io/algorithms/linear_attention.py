"""Gated linear attention: S_t = diag(a_t) S_(t-1) + k_t^T v_t and o_t = q_t S_t, token by token or in chunks.

Gates come as logarithms G[n,dk]; a chunk of tokens is a small attention with decays plus the state before it (Yang et
al. Gated linear attention, ICML 2024, section 4). All forms compute the same outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..machine import tiles
from . import base
from .base import Algorithm, Count, Parameter, Params, Problem, Tile, balanced, best, ceil_div, counting, passing

if TYPE_CHECKING:
    from ..bounds import Bound
    from ..machine import Array, Machine
    from ..machine import Tile as View

# ---------------------------------------------------------------------------------------------------- recurrent


def recurrent(m: Machine, p: Params, t: Tile, Q: Array, K: Array, V: Array, G: Array) -> Array:
    """The state, or some of its columns, stays while tokens pass one at a time."""
    O = m.empty(p["n"], p["dv"], name="O")  # noqa: E741 - the paper's name
    for j in tiles(p["dv"], t["dv"]):
        state = m.scratch(p["dk"], j.stop - j.start, name="state")
        with m.stream(Q[:], K[:], G[:], V[:, j], writes=[O[:, j]], room=_token(state)):
            for i in _tokens(m, p["n"]):
                m.assign(state, state * np.exp(G[i].T) + K[i].T @ V[i, j])
                O[i, j] = Q[i] @ state
        m.free(state)
    return O


def _token(state: View) -> int:
    """Room for a token: its value and output in the columns of ``state``, one element of key, gate and query."""
    return 2 * state.shape[1] + 3


def _tokens(m: Machine, n: int) -> Iterator[slice]:
    return iter(()) if counting(m) else tiles(n, 1)


def _recurrent_count(p: Params, fast: int, t: Tile) -> Count:
    n, dk, dv, b = p["n"], p["dk"], p["dv"], min(p["dv"], t["dv"])
    return Count(3 * n * dk * ceil_div(dv, b) + n * dv, n * dv, dk * b + 2 * b + 3)


def _recurrent_tile(p: Params, fast: int) -> Tile:
    return best({"dv": balanced(p["dv"])}, lambda t: _recurrent_count(p, fast, t), fast)


# ---------------------------------------------------------------------------------------------------- chunked


def chunked(m: Machine, p: Params, t: Tile, Q: Array, K: Array, V: Array, G: Array) -> Array:
    """Chunks of tokens as matrix products, one after the other; the state stays and is never written."""
    O = m.empty(p["n"], p["dv"], name="O")  # noqa: E741
    for j in tiles(p["dv"], t["dv"]):
        state = m.scratch(p["dk"], j.stop - j.start, name="state")
        for i in tiles(p["n"], t["chunk"]):
            m.load(Q[i], K[i], G[i], V[i, j])
            m.new(O[i, j])
            scores = m.scratch(i.stop - i.start, i.stop - i.start, name="scores")
            _inside(m, Q[i], K[i], G[i], scores)
            O[i, j] = (Q[i] * _decay(m, G[i])) @ state + scores @ V[i, j]
            _advance(m, state, K[i], V[i, j], G[i])
            m.store(O[i, j])
            m.free(Q[i], K[i], G[i], V[i, j], O[i, j], scores)
        m.free(state)
    return O


def _decay(m: Machine, G: View) -> Any:
    """Product of the gates from the chunk's first token to each, itself included."""
    return m.apply(lambda g: np.exp(np.cumsum(g, axis=0)), G)


def _inside(m: Machine, Q: View, K: View, G: View, scores: View) -> None:
    """What tokens of a chunk give to later ones in it: q_i . (decay from j to i) k_j for j <= i."""

    def weights(q: Any, k: Any, g: Any) -> Any:
        total = np.cumsum(g, axis=0)
        return np.tril(np.einsum("ic,jc,ijc->ij", q, k, np.exp(np.minimum(total[:, None] - total[None], 0))))

    m.assign(scores, m.apply(weights, Q, K, G, shape=scores.shape))


def _advance(m: Machine, state: View, K: View, V: View, G: View) -> None:
    """The state after a chunk."""
    keys = m.apply(lambda k, g: k * np.exp(g.sum(axis=0) - np.cumsum(g, axis=0)), K, G)
    decay = m.apply(lambda g: np.exp(g.sum(axis=0))[:, None], G, shape=(G.shape[1], 1))
    m.assign(state, state * decay + keys.T @ V)


def _chunked_count(p: Params, fast: int, t: Tile) -> Count:
    n, dk, dv, b, c = p["n"], p["dk"], p["dv"], min(p["dv"], t["dv"]), min(p["n"], t["chunk"])
    return Count(3 * n * dk * ceil_div(dv, b) + n * dv, n * dv, dk * b + c * (3 * dk + 2 * b) + c * c)


def _chunks(p: Params) -> list[int]:
    """Chunk sizes worth trying, largest first: of those that move as much, a larger one gives larger products."""
    return [p["n"], *(1 << e for e in range(p["n"].bit_length() - 1, -1, -1) if 1 << e < p["n"])]


def _chunked_tile(p: Params, fast: int) -> Tile:
    sizes = {"dv": balanced(p["dv"]), "chunk": _chunks(p)}
    return best(sizes, lambda t: _chunked_count(p, fast, t), fast)


# ---------------------------------------------------------------------------------------------------- materialised


def materialised(m: Machine, p: Params, t: Tile, Q: Array, K: Array, V: Array, G: Array) -> Array:
    """The state before every chunk goes to slow memory first; then all chunks are independent of each other."""
    chunks = list(tiles(p["n"], t["chunk"]))
    O = m.empty(p["n"], p["dv"], name="O")  # noqa: E741
    states = m.empty(max(1, len(chunks) - 1), p["dk"], p["dv"], name="states")
    _states(m, p, t, K, V, G, states, chunks[:-1])
    for number, i in enumerate(chunks):
        m.load(Q[i], K[i], G[i])
        scores = m.scratch(i.stop - i.start, i.stop - i.start, name="scores")
        _inside(m, Q[i], K[i], G[i], scores)
        for j in tiles(p["dv"], t["out.dv"]):
            m.load(V[i, j])
            m.new(O[i, j])
            O[i, j] = scores @ V[i, j]
            if number:
                before = states[number - 1, :, j]
                with m.stream(before, room=j.stop - j.start):
                    O[i, j] += (Q[i] * _decay(m, G[i])) @ before
            m.store(O[i, j])
            m.free(V[i, j], O[i, j])
        m.free(Q[i], K[i], G[i], scores)
    return O


def _states(
    m: Machine, p: Params, t: Tile, K: Array, V: Array, G: Array, states: Array, chunks: Sequence[slice]
) -> None:
    if not chunks:
        return
    for j in tiles(p["dv"], t["state.dv"]):
        state = m.scratch(p["dk"], j.stop - j.start, name="state")
        for number, i in enumerate(chunks):
            # a token at a time: its value, an element of its key and of its gate
            with m.stream(K[i], G[i], V[i, j], writes=[states[number, :, j]], room=j.stop - j.start + 2):
                for part in passing(m, i.stop - i.start):
                    token = slice(i.start + part.start, i.start + part.stop)
                    _advance(m, state, K[token], V[token, j], G[token])
                states[number, :, j] = state
        m.free(state)


def _materialised_count(p: Params, fast: int, t: Tile) -> Count:
    n, dk, dv = p["n"], p["dk"], p["dv"]
    c, a, b = min(n, t["chunk"]), min(dv, t["state.dv"]), min(dv, t["out.dv"])
    chunks = base.blocks(n, c)
    before = len(chunks) - 1  # chunks that have a state before them
    first = Count(before * c * (2 * dk * ceil_div(dv, a) + dv), before * dk * dv, dk * a + a + 2 if before else 0)
    rooms = [size * (3 * dk + 2 * b) + size * size for size in chunks]
    peak = max(rooms[0], *(room + b for room in rooms[1:]), 0)
    return first + Count(n * (3 * dk + dv) + before * dk * dv, n * dv, peak)


def _materialised_tile(p: Params, fast: int) -> Tile:
    sizes = {"chunk": _chunks(p), "state.dv": balanced(p["dv"]), "out.dv": balanced(p["dv"])}
    return best(sizes, lambda t: _materialised_count(p, fast, t), fast)


# ---------------------------------------------------------------------------------------------------- the problem


def _draw(p: Params, rng: np.random.Generator) -> dict[str, Any]:
    arrays = {name: rng.standard_normal(shape) for name, shape in _shapes(p).items()}
    return {**arrays, "G": np.log(1 / (1 + np.exp(-arrays["G"]))) / 16}  # sigmoid to the power 1/16


def _shapes(p: Params) -> dict[str, tuple[int, ...]]:
    return {"Q": (p["n"], p["dk"]), "K": (p["n"], p["dk"]), "V": (p["n"], p["dv"]), "G": (p["n"], p["dk"])}


def _reference(p: Params, Q: Any, K: Any, V: Any, G: Any) -> Any:
    state, rows = np.zeros((p["dk"], p["dv"])), []
    for q, k, v, g in zip(Q, K, V, G, strict=True):
        state = state * np.exp(g)[:, None] + np.outer(k, v)
        rows.append(q @ state)
    return np.array(rows)


def _bounds(p: Params, fast: int) -> Sequence[Bound]:
    from .. import bounds
    from ..bounds.bound import compulsory

    n, dk, dv = p["n"], p["dk"], p["dv"]
    gated = compulsory(3 * n * dk + 2 * n * dv, "3*n*dk + 2*n*dv", {"n": n, "dk": dk, "dv": dv, "S": fast})
    return (gated, *bounds.linear_attention(n, dk, dv, fast))


LINEAR_ATTENTION = Problem(
    name="linear-attention",
    doc="gated linear attention of one head: Q[n,dk], K[n,dk], V[n,dv], log gates G[n,dk]",
    parameters={
        "n": Parameter(4096, "tokens"),
        "dk": Parameter(64, "key dimension"),
        "dv": Parameter(128, "value dimension"),
    },
    shapes=_shapes,
    reference=_reference,
    bounds=_bounds,
    work=lambda p: 5.0 * p["n"] * p["dk"] * p["dv"],
    draw=_draw,
    algorithms=(
        Algorithm("recurrent", "token by token, the state in fast memory", "Yang et al. ICML 2024, section 2",
                  _recurrent_tile, _recurrent_count, recurrent),
        Algorithm("chunked", "chunks in order, the state in fast memory",
                  "Yang et al. ICML 2024, algorithm 1, without materialisation",
                  _chunked_tile, _chunked_count, chunked),
        Algorithm("materialised", "states before all chunks to slow memory, then chunks in parallel",
                  "Yang et al. ICML 2024, algorithm 1, with materialisation",
                  _materialised_tile, _materialised_count, materialised),
    ),
)  # fmt: skip

PROBLEMS = (LINEAR_ATTENTION,)
