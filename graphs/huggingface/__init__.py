"""Decoder language models from the ``config.json`` that their publishers ship, by the Hugging Face field names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..ir import Graph
    from ..request import Request

__all__ = ["load_config"]


def load_config(path: str | Path | Mapping[str, Any], request: Request, name: str | None = None) -> Graph:
    """The graph of the model that a ``config.json`` describes. No weights and no network are needed.

    Args:
        path: the file, its folder, or what the file holds.
        request: batch, tokens, phase and type; the usual phase is ``prefill``, of up to 2048 tokens.
        name: the graph's name; None: that of the file, or the model type.

    Returns:
        A graph from ``ids[batch, tokens]`` to logits. ``meta`` has ``total_parameters``, ``active_parameters``,
        ``batch``, ``seq``, ``context``, ``phase`` and ``family``; ``notes`` say what was assumed.

    Raises:
        ModelError: the file cannot be read, lacks fields, or describes no language model.
        OptionError: a request that makes no sense for the model.
    """
    from .fields import read_json

    if isinstance(path, Mapping):
        config, where, source = path, name or "config", ""
    else:
        config, where, source = read_json(Path(path)), str(path), str(path)
    title = name or (_title(Path(path)) if not isinstance(path, Mapping) else str(config.get("model_type", "model")))
    return graph_of(config, request, title, where, source)


def graph_of(config: Mapping[str, Any], request: Request, name: str, where: str, source: str = "") -> Graph:
    """The graph of a configuration that is in memory; ``where`` names it in messages."""
    from .build import build_graph
    from .families import specify, supported

    kind = str(config.get("model_type"))
    if kind not in supported():
        from .encoders import BUILDERS

        if kind in BUILDERS:
            return BUILDERS[kind](config, request, name)
    return build_graph(specify(config, where), request, name, source or where)


def _title(path: Path) -> str:
    if path.name == "config.json":
        path = path.resolve().parent
    return path.stem if path.suffix == ".json" else path.name
