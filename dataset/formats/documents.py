"""What a path holds that masks are read from: a JSON or XML file, or a folder."""

import functools
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from dataset.folders import MASK_SUFFIXES, has_suffix, holds_files, list_folders
from dataset.formats.fields import Fields
from util.errors import InputError
from util.files import read_json, read_text

_JSON, _XML = (".json",), (".xml",)
_OTHERS_JSON = ("meta.json", "config.json", "scores.json")  # beside masks, not of masks


class Document:
    """A path whose content is read once.

    Raises InputError if there is nothing at the path.
    """

    def __init__(self, path: Path):
        self.path = path
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; give masks to convert")

    @property
    def is_folder(self) -> bool:
        return self.path.is_dir()

    @functools.cached_property
    def json(self) -> Any:
        """The content of a .json file; None for others. Raises InputError if it is damaged."""
        return read_json(self.path) if self._is_file(_JSON) else None

    def fields(self) -> Fields:
        """The content of a JSON file that is one object. Raises InputError for anything else."""
        if self.json is None:
            raise InputError(f"{self.path}: not a .json file; give the file itself")
        return Fields(self.json, str(self.path))

    @functools.cached_property
    def xml(self) -> ElementTree.Element | None:
        """The root of an .xml file; None for others. Raises InputError if it is damaged."""
        if not self._is_file(_XML):
            return None
        text = read_text(self.path, "as XML")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise InputError(f"{self.path}: XML with declarations of its own, which is not read")
        try:
            return ElementTree.fromstring(text)
        except (ElementTree.ParseError, ValueError, RecursionError) as error:
            raise InputError(f"{self.path}: not XML ({error}); export it again") from error

    def json_files(self) -> list[Path]:
        """The JSON files of a folder that may hold masks, sorted."""
        return self._files(_JSON) if self.is_folder else []

    def narrowed(self) -> "Document":
        """The only JSON or XML file of a folder that holds no images and no folders; else itself.

        Tools export such folders, with one file in them.
        """
        if not self.is_folder or list_folders(self.path) or holds_files(self.path, MASK_SUFFIXES):
            return self
        files = self._files((*_JSON, *_XML))
        return Document(files[0]) if len(files) == 1 else self

    def _files(self, suffixes: tuple[str, ...]) -> list[Path]:
        return sorted(
            path
            for path in self.path.iterdir()
            if has_suffix(path, suffixes) and path.name not in _OTHERS_JSON and path.is_file()
        )

    def _is_file(self, suffixes: tuple[str, ...]) -> bool:
        return self.path.suffix.lower() in suffixes and not self.is_folder
