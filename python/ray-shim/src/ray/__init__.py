"""The name ``ray`` for the package ``whipray``: the same module objects under both names."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _AliasLoader(Loader):
    """Gives a module that is loaded already another name."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._own_spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        # The import has just written the alias there; the module was executed under its own name.
        module.__spec__ = self._own_spec


class _AliasFinder(MetaPathFinder):
    """Finds ``ray.x.y`` as the module ``whipray.x.y``."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not fullname.startswith("ray."):
            return None
        name = "whipray" + fullname[len("ray") :]
        try:
            module = import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name + ".").startswith(error.name + "."):
                raise  # Something that the module itself wants is not installed.
            return None
        loader = _AliasLoader(module)
        return ModuleSpec(fullname, loader, is_package=hasattr(module, "__path__"))


sys.meta_path.insert(0, _AliasFinder())
sys.modules[__name__] = import_module("whipray")
