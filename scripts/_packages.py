"""Lets `python scripts/NAME.py` find the project's packages from any working directory, installed or not.

Python puts the folder of the started file on its import path: scripts/, not the folder above it, which holds the packages. Importing
this module makes Python look there for the packages of the project, and for nothing else. They come first, so that a `util` or `dataset` of the working directory
or of site-packages is never taken for ours. An editable install works alike (a finder, the import path left alone), but the scripts must also run from a plain clone.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_ROOT = Path(__file__).resolve().parent.parent


class _ProjectPackages:
    """A finder (importlib's protocol) of the packages in the project's root."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module of a top-level `name` that is one of our packages; None leaves any other to the finders after this one."""
        ours = path is None and (_ROOT / name / "__init__.py").is_file()
        return PathFinder.find_spec(name, [str(_ROOT)]) if ours else None


sys.meta_path.insert(0, _ProjectPackages)
