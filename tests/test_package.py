"""The package itself: what it ships, what it exports, what its examples say."""

import doctest
import importlib
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import roofcast

ROOT = Path(roofcast.__file__).parent


def test_every_subpackage_is_listed_for_the_wheel():
    configured = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    skipped = {"tests", "docs", "build", "dist"}
    found = {"roofcast"}
    for init in ROOT.rglob("__init__.py"):
        parts = init.parent.relative_to(ROOT).parts
        if parts and parts[0] not in skipped and not parts[0].startswith("."):
            found.add(".".join(("roofcast", *parts)))
    assert configured == found


def test_public_names_exist():
    for name in roofcast.__all__:
        assert getattr(roofcast, name) is not None
    with pytest.raises(AttributeError, match="no attribute"):
        roofcast.nonsense  # noqa: B018


def test_import_is_light():
    heavy = ["numpy", "torch", "onnx", "pydantic", "matplotlib", "networkx", "pyarrow", "typer", "rich"]
    code = f"import sys, roofcast; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def _modules() -> list[str]:
    skipped = ("roofcast.tests", "roofcast.docs", "roofcast.build", "roofcast.torch_import")
    walked = pkgutil.walk_packages([str(ROOT)], "roofcast.")
    return [m.name for m in walked if not m.name.startswith(skipped) and "torch_import" not in m.name]


def test_examples_in_docstrings_hold():
    tried = 0
    for name in _modules():
        result = doctest.testmod(importlib.import_module(name))
        assert result.failed == 0, name
        tried += result.attempted
    assert tried > 10


ALLOWED = {
    "graphs": {"graphs"},
    "hwmodels": {"hwmodels"},
    "simulator": {"graphs", "hwmodels", "simulator"},
    "predictors": {"graphs", "hwmodels", "simulator", "predictors"},
    "experiments": {"graphs", "hwmodels", "simulator", "predictors", "experiments"},
}


@pytest.mark.parametrize("folder", ALLOWED)
def test_folders_import_only_what_is_above_them(folder):
    import ast

    for path in (ROOT / folder).rglob("*.py"):
        depth = len(path.relative_to(ROOT).parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == depth and node.module:
                top = node.module.split(".")[0]
                assert top not in ALLOWED or top in ALLOWED[folder], f"{path}: imports {top}"
