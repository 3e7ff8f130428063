"""Measured attention as kernels: what the single-pass operator of a graph becomes, with a mask's pairs left out."""

from __future__ import annotations

import numpy as np

from ...graphs.operators.attention import SOFTMAX_VECTOR_OPS
from ...simulator.kernels import LEFT, READ_SLOTS, RIGHT, Floats
from ...simulator.templates import GRAIN
from ..measurements import Measurements, Text
from .base import Samples, precision_columns, rows_of, variant_of

WINDOW_DECIDES = frozenset({"vllm"})
"""Frameworks whose decoding kernel depends on whether a window is set: FlashAttention 2 takes the queries that share
keys as the rows of one block only without one (``seqlenq_ngroups_swapped`` in its ``flash_api.cpp``)."""


def samples(table: Measurements) -> Samples:
    """Rows of kind ``attention``: the query heads that share a key-value head are the rows of one product.

    The closed form of a plain product stands for the traffic curve of the graph's operator (``curve`` is -1): its
    latency differs by less than 1 % on all but one row in ten thousand, since keys and values of a head seldom exceed
    the cache and what passes the level that cores share is decided by the tile. A repeated call finds its operands
    where its last run left them.
    """
    copies = table.number("batch") * table.number("beam_width") * table.number("n_kv_heads")
    width, queries = table.number("head_dim"), table.number("q_len")
    rows = queries * table.number("n_heads") / table.number("n_kv_heads")
    keys, pairs = _masked(table)
    own, _, math = precision_columns(table.text("dtype"))
    kept, _, _ = precision_columns(table.text("kv_dtype"))
    scores = copies * rows / queries * pairs
    reads = np.zeros((len(table), READ_SLOTS))
    reads[:, LEFT] = write = copies * rows * width * own
    reads[:, RIGHT] = 2 * copies * keys * width * kept
    call = np.where(table.text("cache") == "cold", np.inf, reads.sum(axis=1) + write)
    kernels = rows_of(
        len(table), batch=copies, m=rows, n=width, k=keys * width, contraction=np.ones(len(table), np.bool_),
        matrix_ops=4 * width * scores, matrix_dtype=math, vector_ops=SOFTMAX_VECTOR_OPS * scores, special_ops=scores,
        reads=reads, reuse=np.repeat(call[:, None], READ_SLOTS, axis=1), write=write, write_reuse=call,
        element=np.maximum(own, kept), width=width, parallel=np.maximum(copies * rows * keys * width**2 / GRAIN, 1.0),
    )  # fmt: skip
    return Samples("attention", kernels, variant_of(table, _kept(table), _windowed(table)))


def _masked(table: Measurements) -> tuple[Floats, Floats]:
    """Keys that are read, and the query-key pairs of a head that a mask leaves (``executed_pairs`` of the operator)."""
    queries, keys, window = table.number("q_len"), table.number("kv_len"), table.number("window")
    span = np.where(window > 0, np.minimum(window, keys), keys)
    keys = np.where(queries == 1, span, keys)  # a cache keeps no more than the window
    first = keys - queries + 1  # keys that the first query sees
    rising = np.clip(span - first + 1, 0.0, queries)  # queries that see fewer keys than the window
    causal = rising * first + rising * (rising - 1) / 2 + (queries - rising) * span
    around = np.where(window > 0, np.minimum(2 * window + 1, keys), keys)
    return keys, np.where(table.text("op") == "attention_encoder", queries * around, causal)


def _windowed(table: Measurements) -> Text:
    """Whether a window is set that decides the implementation, even where it is no shorter than the keys."""
    decides = table.text("framework").isin(WINDOW_DECIDES) & (table.text("op") == "attention_decode")
    return Text((decides & (table.number("window") > 0)).astype(np.int32), ("", "windowed"))


def _kept(table: Measurements) -> Text:
    """Type of the keys and values."""
    column = table.text("kv_dtype")
    return Text(column.codes, tuple(f"kv_{name}" for name in column.categories))
