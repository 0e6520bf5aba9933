"""The documentation as tests read it: pages, links, headings, code blocks and commands.

A ```bash block is run by tests/test_docs.py unless an HTML comment stands before it:
<!-- not run: REASON -->, or <!-- run by: TEST FILE -->.
A ```python block is run; the blocks of a page share their names, as the cells of a notebook do.
In docs/extending.md, <!-- file: PATH --> before a block makes it a new file, and
<!-- insert into: PATH, after: LINE --> inserts it below the line that contains LINE.
"""

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from repository import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "weights/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
NOT_RUN, RUN_BY = "not run: ", "run by: "

_FENCE = re.compile(r"^```(\w*)$")
_COMMENT = re.compile(r"^<!-- (.*) -->$")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_REFERENCE = re.compile(r"^\[[^\]]+\]: (\S+)$", re.MULTILINE)
_CODE_SPAN = re.compile(r"`([^`]+)`")
_HEADING = re.compile(r"^#+ (.*)$")
_PROGRAM = re.compile(r"^(?:python |torchrun (?:--\S+ )+)(\S+\.py)\b(.*)$")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of code. note: the HTML comment before it, or an empty text."""

    page: Path
    line: int
    language: str
    text: str
    note: str

    def __str__(self) -> str:
        return f"{page_name(self.page)}:{self.line}"

    @property
    def is_run_here(self) -> bool:
        return not self.note.startswith((NOT_RUN, RUN_BY))


@dataclasses.dataclass(frozen=True)
class Command:
    """A call of one of the project's programs. program: its path in the repository."""

    where: str
    program: str
    arguments: tuple[str, ...]


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks, in order."""
    blocks, note, start, language = [], "", None, ""
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        fence = _FENCE.match(line)
        if start is not None and line == "```":
            blocks.append(Block(page, start, language, "\n".join(lines[start : number - 1]), note))
            start, note = None, ""
        elif start is None and fence:
            start, language = number, fence[1]
        elif start is None and line.strip():
            comment = _COMMENT.match(line)
            note = comment[1] if comment else ""
    assert start is None, f"{page_name(page)}:{start}: a block that does not end"
    return blocks


def lines_to_run(block: Block) -> list[str]:
    """A bash block's commands, one per line, without comments."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def command_of(line: str, where: str) -> Command | None:
    """The call of a program in a line of bash; None if it calls something else."""
    found = _PROGRAM.match(line)
    if found is None:
        return None
    return Command(where, found[1], tuple(shlex.split(found[2], comments=True)))


def commands_of(page: Path) -> Iterator[Command]:
    """Every call of a program, in bash blocks and in the text. In the text, … leaves something
    out, and a program alone is a name; both are omitted here."""
    for block in blocks_of(page):
        if block.language == "bash":
            for line in lines_to_run(block):
                command = command_of(line, str(block))
                if command is not None:
                    yield command
    for span in code_spans_of(page):
        command = None if "…" in span else command_of(span, page_name(page))
        if command is not None and command.arguments:
            yield command


def code_spans_of(page: Path) -> list[str]:
    """Every `code` in the text, on one line each."""
    paragraphs = prose_of(page).split("\n\n")
    return [" ".join(span.split()) for text in paragraphs for span in _CODE_SPAN.findall(text)]


def prose_of(page: Path) -> str:
    """The page with its blocks blanked, so that line numbers stay."""
    inside, lines = False, []
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = line.startswith("```")
        lines.append("" if inside or fence else line)
        inside ^= fence
    return "\n".join(lines)


def links_of(page: Path) -> list[str]:
    """Targets of all links and pictures."""
    text = prose_of(page)
    return [*_LINK.findall(text), *_REFERENCE.findall(text)]


def anchors_of(page: Path) -> set[str]:
    """Names of the headings, as GitHub derives them."""
    anchors: list[str] = []
    for line in prose_of(page).splitlines():
        heading = _HEADING.match(line)
        if heading:
            words = re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-")
            before = anchors.count(words)
            anchors.append(f"{words}-{before}" if before else words)
    return set(anchors)
