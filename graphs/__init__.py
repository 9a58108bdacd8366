"""Activities: one file, one graph. The file name is its name, the first docstring line its description."""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType


def discover() -> dict[str, ModuleType]:
    """Graph name -> module; a module is a graph when it has `build()`."""
    modules = {found.name: import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)}
    return {name: module for name, module in modules.items() if hasattr(module, "build")}
