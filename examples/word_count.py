"""The most frequent words of a text: map and reduce with a shuffle in between.

    python examples/word_count.py --file a-long-text.txt --maps 8 --reduces 4

A map task counts the words of its part of the text and deals them out to the reduce tasks: it
returns as many values as there are reduce tasks (`num_returns`). A reduce task takes one value of
each map task, so that it has all counts of its words. The counts go from worker to worker; the
driver holds nothing but references.
"""

import argparse
import collections
import re
import zlib

import ray

SAMPLE = """
A task that needs what another task returns takes the reference as its argument. The task starts
once the value is there, and the value goes from the one worker to the other. The driver passes the
reference on and never sees the value. What no reference leads to is let go.
"""


@ray.remote
def count_words(text, parts):
    """The counts of the words of `text` in `parts` dictionaries: a word is always in the same."""
    counts = [collections.Counter() for _ in range(parts)]
    for word in re.findall(r"\w+", text.lower()):
        # Not hash(): that is another one in every process.
        counts[zlib.crc32(word.encode()) % parts][word] += 1
    return counts if parts > 1 else counts[0]


@ray.remote
def most_frequent(number, *counts):
    """The `number` most frequent words of several dictionaries together."""
    return sum(counts, collections.Counter()).most_common(number)


def cut(text, pieces):
    """Pieces of about the same size, cut at ends of lines."""
    lines = text.splitlines()
    return ["\n".join(lines[start::pieces]) for start in range(pieces)]


def count(text, maps, reduces, number):
    """The `number` most frequent words with their counts."""
    mapped = [
        count_words.options(num_returns=reduces).remote(piece, reduces) for piece in cut(text, maps)
    ]
    if reduces == 1:
        mapped = [[part] for part in mapped]
    reduced = [most_frequent.remote(number, *parts) for parts in zip(*mapped)]
    found = [item for items in ray.get(reduced) for item in items]
    return sorted(found, key=lambda item: (-item[1], item[0]))[:number]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", help="a text; a few sentences without it")
    parser.add_argument("--maps", type=int, default=4)
    parser.add_argument("--reduces", type=int, default=2)
    parser.add_argument("--words", type=int, default=5, help="how many are shown")
    size = parser.parse_args()
    text = SAMPLE
    if size.file:
        with open(size.file, encoding="utf-8", errors="replace") as file:
            text = file.read()
    ray.init()
    for word, times in count(text, size.maps, size.reduces, size.words):
        print(f"{times:6} {word}")
    ray.shutdown()


if __name__ == "__main__":
    main()
