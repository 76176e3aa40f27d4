"""Reading metrics as Prometheus does."""

import re
import urllib.request
from dataclasses import dataclass
from types import ModuleType
from typing import Dict, List

from harness.waiting import GENEROUS_SECONDS, until

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)')
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


@dataclass(frozen=True)
class Sample:
    """One line."""

    name: str
    labels: Dict[str, str]
    value: float


class Page:
    """The metrics at one moment."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples: List[Sample] = []
        self.kinds: Dict[str, str] = {}
        self.descriptions: Dict[str, str] = {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                name, _, self.kinds[name] = line[len("# TYPE ") :].partition(" ")
            elif line.startswith("# HELP "):
                name, _, self.descriptions[name] = line[len("# HELP ") :].partition(" ")
            elif line and not line.startswith("#"):
                self.samples.append(_sample(line))

    def find(self, name: str, **labels: str) -> List[Sample]:
        """The samples of this name that have these labels, and maybe others."""
        return [
            sample
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def total(self, name: str, **labels: str) -> float:
        """The sum of such samples."""
        return sum(sample.value for sample in self.find(name, **labels))


def _sample(line: str) -> Sample:
    match = _SAMPLE.fullmatch(line)
    assert match is not None, f"no sample: {line!r}"
    written, labels = match[2] or "", {}
    for label in _LABEL.finditer(written):
        labels[label[1]] = re.sub(r"\\.", lambda it: _ESCAPES[it[0]], label[2])
    assert _LABEL.sub("", written) == "", f"no labels: {written!r}"
    return Sample(match[1], labels, float(match[3]))


def read(url: str) -> Page:
    """The page at this address."""
    with urllib.request.urlopen(url, timeout=GENEROUS_SECONDS) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return Page(answer.read().decode())


def scrape(ray: ModuleType) -> Page:
    """The page of the cluster that this process is connected to."""
    node = ray.nodes()[0]
    return read(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics")


def seen(ray: ModuleType, name: str, value: float, **labels: str) -> Page:
    """The first page on which the samples of this name and labels make up this value."""

    def look():
        page = scrape(ray)
        is_there = page.find(name, **labels) and page.total(name, **labels) == value
        return page if is_there else None

    return until(look, f"{name} {labels} is {value}")
