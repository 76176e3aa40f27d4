"""Check that documents, and sources that mention documents, point at things that exist.

    python tools/check_docs.py [folder]

Read are the Markdown files of the repository at `folder` (default: the one this script is in), and
its Rust and Python sources except the tests. Each of these must hold, or a line
`file:line: what is wrong` is printed and the status is 1:

* a relative link leads to a file or folder, and its `#anchor` to a heading of that document;
* a path in `code` quotes that starts with a top-level folder of the repository exists (`*` stands
  for any name); in `path::name` the word `name` also occurs in that file;
* `make verb` names a target of the Makefile;
* a document that a source mentions as `docs/page.md` exists.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Iterator

# Built or created by running something: right to mention, absent from a clean clone.
GENERATED = (".venv", "target", "dist", "python/whipray/_bin")
SOURCE_FOLDERS = ("crates", "python", "examples", "benches")
SOURCE_ENDINGS = {".rs", ".py", ".pyi"}
SKIPPED_FOLDERS = {".git", ".venv", "target", "dist", "node_modules"}

FENCE = re.compile(r"^\s*(```|~~~)")
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
CODE = re.compile(r"`([^`]+)`")
REPOSITORY_PATH = re.compile(r"^(?P<path>[\w.*-]+(?:/[\w.*-]+)*/?)(?:::(?P<name>\w+))?$")
MAKE_VERB = re.compile(r"(?:^|[\s$])make ([a-z][a-z-]*)\b")
MAKE_TARGET = re.compile(r"^([a-z][a-z-]*):(?!=)", re.MULTILINE)
DOCUMENT_PATH = re.compile(r"\bdocs/[\w./-]+\.md\b")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")


def documents(root: Path) -> Iterator[Path]:
    """Every Markdown file below `root`, leaving out what is built or installed."""
    for path in sorted(root.rglob("*.md")):
        parts = path.relative_to(root).parts
        if not any(part in SKIPPED_FOLDERS or part.endswith("_cache") for part in parts):
            yield path


def sources(root: Path) -> Iterator[Path]:
    """The Rust and Python files of the product and its examples."""
    for folder in SOURCE_FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in SOURCE_ENDINGS:
                yield path


def prose_lines(text: str) -> Iterator[tuple[int, str, bool]]:
    """(line number, line, whether it stands in a fenced block) for each line but the fences."""
    fenced = False
    for number, line in enumerate(text.splitlines(), start=1):
        if FENCE.match(line):
            fenced = not fenced
        else:
            yield number, line, fenced


def anchor(heading: str) -> str:
    """The `#anchor` under which a rendered page offers a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.strip().replace(" ", "-")


def anchors(document: Path) -> set[str]:
    """The anchors of all headings of a document."""
    found = set()
    for _, line, fenced in prose_lines(document.read_text(encoding="utf-8")):
        heading = None if fenced else HEADING.match(line)
        if heading:
            found.add(anchor(heading.group(1)))
    return found


class Repository:
    """What a document may refer to."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.folders = {path.name for path in self.root.iterdir() if path.is_dir()}
        self.folders |= {generated.split("/")[0] for generated in GENERATED}
        makefile = self.root / "Makefile"
        text = makefile.read_text(encoding="utf-8") if makefile.exists() else ""
        self.verbs = set(MAKE_TARGET.findall(text))

    def faults(self, document: Path) -> Iterator[tuple[int, str]]:
        """(line number, sentence) for each reference of `document` that leads nowhere."""
        for number, line, fenced in prose_lines(document.read_text(encoding="utf-8")):
            checks = [self.verb_faults(line if fenced else " ".join(CODE.findall(line)))]
            if not fenced:
                checks.append(self.link_faults(document, CODE.sub("", line)))
                checks.append(self.path_faults(line))
            for check in checks:
                for sentence in check:
                    yield number, sentence

    def source_faults(self, source: Path) -> Iterator[tuple[int, str]]:
        """The same for the documents that a source file mentions."""
        text = source.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            for path in DOCUMENT_PATH.findall(line):
                if not (self.root / path).exists():
                    yield number, f"there is no {path}"

    def link_faults(self, document: Path, line: str) -> Iterator[str]:
        for target in LINK.findall(line):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, wanted = target.partition("#")
            file = (document.parent / path).resolve() if path else document
            if not file.is_relative_to(self.root) or not file.exists():
                yield f"the link {target} leads to no file"
            elif wanted and file.suffix == ".md" and wanted not in anchors(file):
                yield f"the link {target} names no heading of {file.relative_to(self.root)}"

    def path_faults(self, line: str) -> Iterator[str]:
        for code in CODE.findall(line):
            match = REPOSITORY_PATH.match(code)
            if not match or match["path"].split("/")[0] not in self.folders:
                continue
            path, name = match["path"].rstrip("/"), match["name"]
            if "/" not in match["path"] or path.startswith(GENERATED):
                continue
            files = list(self.root.glob(path))
            if not files:
                yield f"there is no {path}"
            elif name and not any(mentions(file, name) for file in files):
                yield f"{path} does not mention {name}"

    def verb_faults(self, text: str) -> Iterator[str]:
        for verb in MAKE_VERB.findall(text):
            if self.verbs and verb not in self.verbs:
                yield f"the Makefile has no target {verb}"


def mentions(file: Path, name: str) -> bool:
    """Whether the word `name` occurs in the file."""
    if not file.is_file():
        return False
    return re.search(rf"\b{re.escape(name)}\b", file.read_text(encoding="utf-8")) is not None


def main(arguments: list[str]) -> int:
    """Print the faults; the exit status is 1 if there are any."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    repository = Repository(root)
    found = [
        (path, fault)
        for paths, faults in (
            (documents(repository.root), repository.faults),
            (sources(repository.root), repository.source_faults),
        )
        for path in paths
        for fault in faults(path)
    ]
    for path, (number, sentence) in found:
        print(f"{path.relative_to(repository.root)}:{number}: {sentence}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
