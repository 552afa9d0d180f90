"""Which language a text is in: how often each way of telling it is right, by the text's length.

    python -m benchmarks.languages tr=corpus/tr.txt az=corpus/az.txt en=corpus/en.txt

Of each file, one of whose lines is a sentence or a paragraph, `--samples` stretches of each length
are drawn at random and cut at words. Prints Markdown: the share of each language that is told
right, then the share of what is taken for Turkish that is Turkish, all languages being as frequent.
Needs the extra `prepare` and the package lingua-language-detector.
"""

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path

from lingua import LanguageDetectorBuilder
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from benchmarks.markdown import header, row


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", nargs="+", metavar="CODE=FILE")
    parser.add_argument("--lengths", type=int, nargs="+", default=[20, 100, 500])
    parser.add_argument("--samples", type=int, default=200)
    options = parser.parse_args()
    files = dict(text.split("=", 1) for text in options.texts)
    names = [f"{code}, {length}" for length in options.lengths for code in files]
    print("\n".join(header(["", *names, "microseconds a sample"])))
    for name, identify in _identifiers().items():
        cells, precision, seconds = [], [], 0.0
        for length in options.lengths:
            counts, taken = {}, {}
            for code, path in files.items():
                texts = _samples(Path(path), length, options.samples)
                begun = time.perf_counter()
                found = [identify(text) for text in texts]
                seconds += time.perf_counter() - begun
                counts[code] = found.count(code) / len(found)
                taken[code] = found.count("tr") / len(found)
            cells += [f"{100 * share:.1f}" for share in counts.values()]
            precision.append(f"{100 * taken['tr'] / max(1e-9, sum(taken.values())):.1f} %")
        each = 1e6 * seconds / (len(names) * options.samples)
        print(row([f"{name} ({', '.join(precision)})", *cells, f"{each:.0f}"]))


def _identifiers() -> dict[str, Callable[[str], str]]:
    langid = LanguageIdentifier.from_model_file(MODEL_FILE)
    every = LanguageDetectorBuilder.from_all_languages()
    detectors = {"lingua": every.build(), "lingua, low": every.with_low_accuracy_mode().build()}

    def by_lingua(name: str) -> Callable[[str], str]:
        def identify(text: str) -> str:
            found = detectors[name].detect_language_of(text)
            return found.iso_code_639_1.name.lower() if found else ""

        return identify

    return {
        "py3langid": lambda text: langid.classify(text)[0],
        **{name: by_lingua(name) for name in detectors},
    }


def _samples(path: Path, length: int, count: int) -> list[str]:
    """Stretches of about `length` characters, of whole words, from a random line on."""
    lines = path.read_text(encoding="utf-8").splitlines()
    lines = [line.strip() for line in lines if len(line.strip()) > 5]
    draw, found = random.Random(length), []
    for _ in range(count):
        start, text = draw.randrange(len(lines)), ""
        while len(text) <= length:
            text += lines[start % len(lines)] + " "
            start += 1
        found.append(text[: length + 1].rpartition(" ")[0] or text[:length])
    return found


if __name__ == "__main__":
    main()
