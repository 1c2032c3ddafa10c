"""The fenced blocks of README.md and docs/, and what the page says of how they are run.

A comment above a block, which no reader sees, may say

    <!-- test: continues -->           the block goes on where the one before it, of its language, ended
    <!-- test: file NAME -->           later blocks of the page find it in a file of that name
    <!-- test: with NAME -->           the function NAME of doc_drivers.py starts the program and talks with it
    <!-- test: needs certificate -->   chain.pem and key.pem are there
    <!-- test: needs NAME NAME -->     these programs have to be installed
    <!-- test: calls STATEMENT -->     for a Cython block: what to do with the compiled `module`
    <!-- test: stderr -->              it may write to standard error
    <!-- test: left out: REASON -->    it is not run

and several of these, separated by semicolons. Otherwise a block is a whole program, and one of `output` that
follows it is what it prints, with ... for what may differ.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

FENCE = re.compile(r"( *)(`{3,}|~{3,})(.*)")
MARK = re.compile(r" *<!-- test: (.*) -->")

# What is no code: pictures made of characters, and what programs print.
PROSE = ("text", "output")
LANGUAGES = ("python", "cython", "c", "c++", "sh")
KEYS = ("continues", "file", "with", "needs", "calls", "stderr", "left out")


@dataclass
class Block:
    page: Path
    line: int
    language: str
    text: str
    marks: dict[str, str] = field(default_factory=dict)
    before: list["Block"] = field(default_factory=list)  # the page's blocks before this one
    output: str | None = None

    @property
    def name(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def module(self):
        """Under which name a Cython block is compiled."""
        return f"doc_{self.page.stem.replace('-', '_').lower()}_{len(self.before)}"

    @property
    def program(self):
        """The block, behind what it continues."""
        if "continues" not in self.marks:
            return self.text
        same = [block for block in self.before if block.language == self.language]
        assert same, f"{self.name} continues nothing"
        return f"{same[-1].program}\n{self.text}"

    @property
    def files(self):
        """Name and text of each file that the page has told of, this block's own included."""
        return {
            block.marks["file"]: block.program
            for block in (*self.before, self)
            if "file" in block.marks
        }

    def is_built_by(self, blocks):
        """Whether a later command of the page makes something of the file that the block is."""
        name = self.marks.get("file")
        return name is not None and any(
            block.language == "sh" and self in block.before and name in block.text
            for block in blocks
        )


def parse_marks(text):
    marks = {}
    for part in [text] if text.startswith("left out") else text.split("; "):
        key = next(
            (key for key in KEYS if part == key or part.startswith((key + " ", key + ":"))), ""
        )
        assert key, f"unknown mark: {part}"
        marks[key] = part[len(key) :].lstrip(": ")
    return marks


def blocks_of(page):
    """The page's blocks of code, in their order."""
    found, marks, last = [], {}, None
    lines = iter(enumerate(page.read_text().splitlines(), 1))
    for number, line in lines:
        mark, fence = MARK.fullmatch(line), FENCE.fullmatch(line)
        if mark:
            marks.update(parse_marks(mark[1]))
        if not fence:
            continue
        indent, ticks, language = fence.groups()
        language = language.strip()
        text = []
        for _, inner in lines:
            if inner.strip().startswith(ticks):
                break
            text.append(inner.removeprefix(indent))
        body = "\n".join(text) + "\n"
        if language == "output":
            assert last is not None, f"{page}:{number}: the output of nothing"
            last.output = body
        elif language not in PROSE and not language.startswith("{"):
            last = Block(page, number, language, body, marks, list(found))
            found.append(last)
        marks = {}
    assert not marks, f"{page}: a mark without a block: {marks}"
    return found


def all_blocks():
    return [block for page in PAGES for block in blocks_of(page)]
