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
        _alias_loaded_modules(being_imported=fullname)
        loader = _AliasLoader(module)
        return ModuleSpec(fullname, loader, is_package=hasattr(module, "__path__"))


def _alias_loaded_modules(being_imported: str | None = None) -> None:
    """Everything of the package that is loaded has its second name at once.

    An import of that name would write the module into its parent once more, over a function that
    has the name of its module (``ray.util.placement_group``). The one whose import is under way is
    left to it: the import system would execute a module again that appears during the search.
    """
    for name, module in list(sys.modules.items()):
        alias = "ray" + name[len("whipray") :]
        if name.startswith("whipray.") and alias != being_imported:
            sys.modules.setdefault(alias, module)


sys.meta_path.insert(0, _AliasFinder())
sys.modules[__name__] = import_module("whipray")
_alias_loaded_modules()
