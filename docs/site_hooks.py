"""Hooks of MkDocs: the website also shows pages that lie outside docs/, and links to them work.

On GitHub the pages link to each other by their paths in the repository (../CONTRIBUTING.md). The
website has all of them in one folder.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent

# path in the repository → page of the website
OUTSIDE_PAGES = {
    "weights/README.md": "shipped-networks.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "README.md": "index.md",
}
_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside docs/."""
    for path, name in OUTSIDE_PAGES.items():
        if files.get_file_from_path(name) is None:
            files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links at pages of the website; other files of the repository are named without one."""
    sources = {name: path for path, name in OUTSIDE_PAGES.items() if name != "index.md"}
    folder = (ROOT / sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")).parent

    def on_site(link: re.Match[str]) -> str:
        text, anchor = link["text"], link["anchor"] or ""
        if "://" in link["target"]:
            return link[0]
        path = (folder / link["target"]).resolve().relative_to(ROOT).as_posix()
        if path in OUTSIDE_PAGES:
            return f"[{text}]({OUTSIDE_PAGES[path]}{anchor})"
        return (
            f"[{text}]({path.removeprefix('docs/')}{anchor})" if path.startswith("docs/") else text
        )

    return _LINK.sub(on_site, markdown)
