"""The list of models and how each is built. A family's module registers its members; modules load when first asked."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from ...errors import ModelError
from ..ir import Graph
from ..request import Request

# Modules of this folder that register models.
FAMILIES = ("resnet", "regnet", "mobile", "efficientnet", "modern", "classic", "transformers", "language", "encoders",
            "speech", "diffusion")  # fmt: skip


@dataclass(frozen=True, slots=True)
class ZooModel:
    """A model that can be asked for by name.

    Attributes:
        name: the canonical name, lower case.
        family: what it is one of.
        task: ``image``, ``language``, ``speech`` or ``diffusion``.
        source: where its hyper-parameters are published.
        build: makes its graph for a request.
        aliases: other names for it.
    """

    name: str
    family: str
    task: str
    source: str
    build: Callable[[Request], Graph]
    aliases: tuple[str, ...] = ()


_MODELS: dict[str, ZooModel] = {}


def register(
    name: str, family: str, task: str, source: str, build: Callable[[Request], Graph], *aliases: str
) -> None:
    """Add a model to the zoo."""
    if name in _MODELS:
        raise ValueError(f"two models are called {name}")
    _MODELS[name] = ZooModel(name, family, task, source, build, aliases)


@cache
def models() -> dict[str, ZooModel]:
    """Every model, by canonical name."""
    for family in FAMILIES:
        importlib.import_module(f".{family}", __package__)
    return dict(sorted(_MODELS.items()))


def _fold(name: str) -> str:
    """The name without case and separators; between digits a separator counts, since 1.6gf is not 16gf."""
    return re.sub(r"(?<!\d)\.|\.(?!\d)", "", re.sub(r"[-_. ]+", ".", name.lower()))


@cache
def _by_folded() -> dict[str, ZooModel]:
    found: dict[str, ZooModel] = {}
    for model in models().values():
        for name in (model.name, *model.aliases):
            other = found.setdefault(_fold(name), model)
            if other is not model:
                raise ValueError(f"{name} could be {other.name} or {model.name}")
    return found


def zoo_model(name: str) -> ZooModel:
    """The model called ``name``; case, dots, dashes and underscores do not matter.

    Raises:
        ModelError: there is none; the nearest names are given.
    """
    found = _by_folded().get(_fold(name))
    if found is None:
        raise ModelError("no such model", found=name, expected="a name from `roofcast models`, an .onnx file, a "
                         "config.json or a .py file", choices=models())  # fmt: skip
    return found


def build(name: str, request: Request) -> Graph:
    """The graph of the model called ``name``."""
    return zoo_model(name).build(request)
