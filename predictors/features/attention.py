"""Features of attention: blocks of queries, splits of the keys, and how both fill the cores.

A kernel's rows are the queries of all heads that share keys and values, so the number of queries is read off the
share of pairs that a causal mask leaves: of ``q`` queries that end at the last of ``s`` keys, ``1 - (q - 1) / 2s``.
"""

from __future__ import annotations

import numpy as np

from ...simulator.cost import Costs
from ...simulator.device_table import DeviceTable
from ...simulator.kernels import LEFT, RIGHT, Floats, Kernels
from .common import LEAST, Features, cache_bytes, log2, shares, wave_fill

BLOCKS = (64, 128)
"""Queries that a block of threads holds. FlashAttention-2 (arXiv:2307.08691, section 3.3) has 64 and 128."""
KEY_BLOCK = 128.0
"""Keys that a block of threads takes at a time."""
UNLIKE = ("rereads", "level2_share", "level3_share")
"""Shares that follow from the traffic curve inside a core, which measured rows have in closed form only."""


def features(kernels: Kernels, table: DeviceTable, costs: Costs) -> Features:
    """Features of K attention kernels on one device, each (K,)."""
    found = {name: values for name, values in shares(kernels, table, costs).items() if not name.startswith(UNLIKE)}
    m, width, batch = kernels.m, kernels.n, kernels.batch
    keys = kernels.k / width
    density = np.minimum(kernels.matrix_ops / (4 * batch * m * keys * width), 1.0)
    queries = np.clip(np.round(1 + 2 * keys * (1 - density)), 1.0, np.minimum(m, keys))
    sharing = m / queries
    found |= {"rows": log2(m), "queries": log2(queries), "sharing": log2(sharing), "keys": log2(keys),
              "batch": log2(batch), "width": log2(width), "density": np.log(density)}  # fmt: skip
    found["query_bytes"] = log2(kernels.reads[:, LEFT] / (batch * m * width))
    found["key_bytes"] = log2(kernels.reads[:, RIGHT] / (2 * batch * keys * width))
    peak = table.product_peak[kernels.matrix_dtype, 0]
    found |= _blocks(m, queries, sharing, keys, density, kernels, float(table.cores[0]), peak, costs)
    found |= _splits(m, keys, batch, float(table.cores[0]))
    found |= _missed(found, density, table, costs)
    cache = cache_bytes(table)
    found["keys_over_cache"] = log2(kernels.reads[:, RIGHT] / cache)
    found["head_over_cache"] = log2(kernels.reads[:, RIGHT] / batch / cache)
    return found


def _blocks(m: Floats, queries: Floats, sharing: Floats, keys: Floats, density: Floats, kernels: Kernels,
            cores: float, peak: Floats, costs: Costs) -> Features:  # fmt: skip
    """Blocks of queries in waves over the cores, heads apart and heads that share keys together."""
    found: Features = {}
    for size in BLOCKS:
        together = kernels.batch * np.ceil(m / size)
        apart = kernels.batch * sharing * np.ceil(queries / size)
        for name, blocks in (("", together), ("_apart", apart)):
            found[f"waves{size}{name}"] = log2(blocks / cores)
            found[f"fill{size}{name}"] = wave_fill(blocks, cores)
        found[f"row_fill{size}"] = m / (np.ceil(m / size) * size)
        found[f"query_fill{size}"] = queries / (np.ceil(queries / size) * size)
    # The block that sees most keys works alone at the end: its time on one core at peak.
    seen = np.minimum(keys, 2 * density * keys + BLOCKS[-1])
    longest = 4 * BLOCKS[-1] * seen * kernels.n * cores / peak
    found["longest_share"] = np.log(longest / costs.latency[:, 0])
    return found


def _splits(m: Floats, keys: Floats, batch: Floats, cores: float) -> Features:
    """Keys cut between cores where heads and sequences alone are too few (Flash-Decoding)."""
    heads = batch * np.ceil(m / BLOCKS[0])
    most = np.ceil(keys / KEY_BLOCK)
    splits = np.clip(np.floor(cores / heads), 1.0, most)
    return {
        "heads_a_core": log2(heads / cores),
        "key_blocks": log2(heads * most / cores),
        "splits": log2(splits),
        "keys_a_split": log2(keys / splits),
        "split_fill": wave_fill(heads * splits, cores),
        "key_fill": keys / (most * KEY_BLOCK),
        "turns": log2(np.ceil(heads * splits / cores) * np.ceil(most / splits)),
    }


def _missed(found: Features, density: Floats, table: DeviceTable, costs: Costs) -> Features:
    """What the analytical time leaves out, over that time.

    Blocks wait for main memory before their first scores, and between blocks of keys; softmax is only in part hidden
    behind the products; and blocks of keys that a mask leaves out are not read.
    """
    latency, roofs = costs.latency[:, 0], costs.roofs[:, :, 0]
    wait = table.latency[0, 0]
    waits = wait * np.ceil(np.exp2(found["heads_a_core"]))
    chain = wait * np.exp2(found["turns"])
    apart = roofs[:3].sum(axis=0)
    shared = roofs[4] * density if len(roofs) > 5 else roofs[3]
    together = np.maximum(np.maximum(apart, roofs[3]), np.maximum(shared, waits + chain))
    parts = {"waits": waits, "chain": chain, "apart": apart, "masked": shared, "together": together}
    return {f"{name}_share": np.log((part + LEAST) / latency) for name, part in parts.items()}
