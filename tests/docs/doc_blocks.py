"""The blocks of a document in markdown, and how each is run: in order, in one fresh directory for each page.

| block | what is done |
|---|---|
| `title="FILE"` behind the language | the block is written to that file |
| `sh`, `bash` | run by bash; a `text` block right behind it is what it must print |
| `console` | each line after `$ ` is run, and must print the lines behind it |
| `python` | run as a program; a `text` block right behind it is what it must print |
| `yaml` | read; the settings below its `trainctl:` are checked |
| all others | shown only |

Comments on lines of their own steer the next block: `<!-- not run: REASON -->`, `<!-- background -->` (it goes on
beside the next blocks, which wait until it trains), `<!-- fails -->`, `<!-- numbers vary -->`, `<!-- any order -->` (of
the lines). Those of a page stand at its top: `<!-- files: NAME... -->` (copied from the repository), `<!-- slow -->` or
`<!-- long -->` (when it is tested),
`<!-- needs: MODULE... -->`. A comment that begins with `sh` or `python` on its first line is run but not shown; hidden
Python is put before the next Python block.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHELL = ("sh", "bash")
_PART = re.compile(
    r"^(?P<indent>[ ]*)```(?P<language>\w*)(?P<rest>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```[ ]*$"
    r"|^<!--[ ]?(?P<comment>.*?)[ ]?-->[ ]*$",
    re.MULTILINE | re.DOTALL,
)
_VARYING = (
    (re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]"), ""),
    (re.compile(r"http://127\.0\.0\.1:\d+/\w+/\?token=\S*"), "PAGE"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "TIME"),
    (re.compile(r"\b\d+(\.\d+)? (ms|s|min|h)\b( \d+(\.\d+)? (ms|s|min|h)\b)*"), "DURATION"),
)
_NUMBER = re.compile(r"-?\d[\d,]*(\.\d+)?(e[+-]?\d+)?")


@dataclass(slots=True)
class Block:
    language: str
    text: str
    line: int
    file: str | None = None
    reason: str | None = None  # why it is not run
    background: bool = False
    fails: bool = False
    vary: bool = False
    any_order: bool = False
    hidden: bool = False
    prints: str | None = None
    before: str = ""  # hidden Python

    @property
    def is_run(self) -> bool:
        """Whether something is done with the block."""
        return self.reason is None and (self.file is not None or self.language in (*SHELL, "console", "python", "yaml"))


@dataclass(slots=True)
class Page:
    path: Path
    blocks: list[Block] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()


def read_page(path: Path) -> Page:
    """Read a page's blocks in order, each with what the comments before it say."""
    text = path.read_text()
    page, after = Page(path), 0
    pending = Block("", "", 0)
    for part in _PART.finditer(text):
        line = text.count("\n", 0, part.start()) + 1
        if part["comment"] is not None:
            _heed(part["comment"], page, pending, line)
            continue
        body = re.sub(rf"^{part['indent']}", "", part["text"], flags=re.MULTILINE)
        previous = page.blocks[-1] if page.blocks else None
        runs = previous is not None and previous.is_run and previous.file is None and not previous.hidden
        if part["language"] == "text" and runs and previous is not None and not text[after : part.start()].strip():
            previous.prints = body
        else:
            pending.language, pending.text, pending.line = part["language"], body, line
            title = re.search(r'title="([^"]+)"', part["rest"])
            pending.file = title[1] if title else None
            page.blocks.append(pending)
        pending, after = Block("", "", 0), part.end()
    return page


def _heed(comment: str, page: Page, pending: Block, line: int) -> None:
    """Do what a comment says: to its page, to the next block, or as a hidden block."""
    first, _, rest = comment.partition("\n")
    word, _, argument = (each.strip() for each in first.partition(":"))
    flag = {"background": "background", "fails": "fails", "numbers vary": "vary", "any order": "any_order"}.get(word)
    if flag:
        setattr(pending, flag, True)
    elif word in ("files", "needs"):
        getattr(page, word).extend(argument.split())
    elif word in ("slow", "long"):
        page.marks.append(word)
    elif word == "not run":
        assert argument, f"{page.name}:{line}: a block that is not run needs its reason"
        pending.reason = argument
    elif word == "python":
        pending.before += rest + "\n"
    elif word == "sh":
        page.blocks.append(Block("sh", rest, line, hidden=True))
    else:
        raise AssertionError(f"{page.name}:{line}: what is {first!r}?")


def pages() -> list[Page]:
    """Return README, all pages of the documentation and those of the examples, in the order of their names."""
    below = (path for folder in ("docs", "examples") for path in sorted((ROOT / folder).rglob("*.md")))
    return [read_page(path) for path in (ROOT / "README.md", *below)]


def steady(text: str, *, vary: bool) -> list[str]:
    """Return the lines without what differs from run to run: times, addresses, widths of columns; all numbers if asked.

    >>> steady("DONE  1/2 a after 5.7 s", vary=False)
    ['DONE 1/2 a after DURATION']
    """
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    if vary:
        text = _NUMBER.sub("#", text)
    return [line for line in (" ".join(line.split()) for line in text.splitlines()) if line]


def shows(expected: str, printed: str, *, vary: bool = False, any_order: bool = False) -> bool:
    """Whether a program has printed what a page shows; `…` is any text in a line, or any lines.

    >>> shows("a\\n…\\nd 3.1 s", "a\\nb\\nc\\nd  4 s"), shows("a …", "a b"), shows("a", "b")
    (True, True, False)
    """
    pattern = ""
    order: Callable[[list[str]], list[str]] = sorted if any_order else list
    for line in order(steady(expected, vary=vary)):
        if line in ("…", "..."):
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += ".*?".join(re.escape(piece) for piece in re.split(r"…|\.\.\.", line)) + r"\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in order(steady(printed, vary=vary)))) is not None


def steps_of(block: Block) -> list[tuple[str, str | None]]:
    """Return the commands of a shell block, each with what it must print.

    >>> steps_of(Block("console", "$ echo a\\na\\n$ true\\n", 1))
    [('echo a', 'a\\n'), ('true', '')]
    """
    if block.language != "console":
        return [(block.text, block.prints)]
    found: list[tuple[str, str | None]] = []
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, printed = re.sub(r"\\\n\s*", "", part).partition("\n")
        found.append((command, printed))
    return found
