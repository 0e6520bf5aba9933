"""Lets `python scripts/NAME.py` find the project's packages from any working directory.

For a program started by its path, Python searches the program's folder, scripts/, but not the
folder above it, which holds the packages. Importing this module makes Python search that folder
for the packages of the project, and for nothing else. They come first, so that a `util` or
`dataset` of the working directory or of site-packages is never taken for ours.

An editable install also does this by a finder, but the scripts must also run from a clone that
is not installed.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_ROOT = Path(__file__).resolve().parent.parent


class _ProjectPackages:
    """A finder, by importlib's protocol, of the packages in the project's root."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a top-level `name` that is one of our packages.

        None passes any other name on to the finders after this one.
        """
        ours = path is None and (_ROOT / name / "__init__.py").is_file()
        return PathFinder.find_spec(name, [str(_ROOT)]) if ours else None


sys.meta_path.insert(0, _ProjectPackages)
