"""What MkDocs does beside: README and other files of the repository are pages of the site, too."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# where a file of the repository lies in the site; all others keep their place
RENAMED = {"README.md": "index.md", "SECURITY.md": "report.md"}  # security.md is another page
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the files of the repository that pages link to."""
    for name in sorted(linked(files)):
        path = ROOT / name
        place = RENAMED.get(name, name)
        if path.suffix == ".md":
            files.append(File.generated(config, place, content=path.read_text()))
        elif path.is_file():
            files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def linked(files: Files) -> set[str]:
    """Return the files outside `docs/` that pages name, and those that these name."""
    found, to_read = set(), [("README.md", (ROOT / "README.md").read_text())]
    to_read += [(f"docs/{file.src_uri}", file.content_string) for file in files.documentation_pages()]
    found.add("README.md")
    while to_read:
        name, text = to_read.pop()
        for link in _LINK.findall(text):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), link))
            if not target.startswith(("docs/", "../")) and target not in found and (ROOT / target).is_file():
                found.add(target)
                if target.endswith(".md"):
                    to_read.append((target, (ROOT / target).read_text()))
    return found


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    uri = page.file.src_uri
    names = {place: name for name, place in RENAMED.items()}
    is_outside = page.file.generated_by is not None
    source = names.get(uri, uri) if is_outside else f"docs/{uri}"

    def to_site(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        inside = target.removeprefix("docs/") if target.startswith("docs/") else RENAMED.get(target, target)
        return posixpath.relpath(inside, posixpath.dirname(uri) or ".")

    return _LINK.sub(to_site, markdown)
