"""Models by name, each built from its published hyper-parameters."""

from .registry import ZooModel, build, models, zoo_model

__all__ = ["ZooModel", "build", "models", "zoo_model"]
