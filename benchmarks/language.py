"""The measure `language`: speed per core beside the fasttext library, and accuracy by language, beside pycld2.

    python -m benchmarks.language    # pycld2, where it is installed, is beside them

Text is that of the docs of the benchmark data, whose languages are known. The library is asked for two labels of a list
of Python strings that are cut already and whose newlines are spaces; gristmill gets Arrow text as it is and cuts it.
They take turns; ratios are medians of those of each round.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import fasttext
import pyarrow as pa

from benchmarks.common import median_seconds, print_table, size_of
from benchmarks.corpus import DATA
from gristmill.operators.columns import TEXT
from gristmill.operators.measures.language import Language, installed_model

try:
    import pycld2
except ImportError:
    pycld2 = None

#: Sources in which the language of every document is known, and which lid.176 was hardly trained on.
SOURCES = ("book_en", "book_multilingual", "news_bbc", "review_imdb", "usenet", "readme_tldr", "poetry_zh")
TRANSLATED = "declaration_udhr"
#: ISO 639-3 codes of that source, and what the models call these languages. Others are not among lid.176's.
_CODES = """
afr:af amh:am arb:ar azj:az bel:be bod:bo bos:bs bul:bg ceb:ceb ckb:ckb cmn:zh cym:cy deu:de ell:el est:et
eus:eu fin:fi fra:fr gla:gd gle:ga guj:gu hat:ht hin:hi hrv:hr hsb:hsb hun:hu hye:hy ido:io ilo:ilo ita:it
kan:kn kat:ka khk:mn khm:km mal:ml mar:mr min:min mkd:mk mya:my nds:nds pan:pa pes:fa pnb:pnb pol:pl por:pt
quy:qu quz:qu roh:rm ron:ro rus:ru san:sa slk:sk som:so src:sc srp:sr sun:su tam:ta tat:tt tgl:tl tha:th
tuk:tk uig:ug uzn:uz vec:vec war:war ydd:yi yor:yo
"""
CODES = dict(pair.split(":") for pair in _CODES.split())
Detector = Callable[[pa.LargeStringArray], list[str | None]]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--documents", type=int, default=9000, help="how many documents speed is measured on")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    documents = [*labelled()]
    print_table(
        ("characters", "detector", "MB/s", "documents/s", "gristmill is faster by"),
        speeds([text for _, _, text in documents[:: max(1, len(documents) // options.documents)]], options.runs),
    )
    print()
    print_table(("source", "language", "documents", *DETECTORS), accuracies(documents))


def labelled() -> Iterator[tuple[str, str, str]]:
    """Source, language as lid.176 names it, and text of the documents whose language is known."""
    files = sorted((DATA / "docs").glob("*.jsonl.gz"))
    if not files:
        raise SystemExit(f"the benchmark data is not there: {DATA}")
    for file in files:
        with gzip.open(file) as lines:
            for document in map(json.loads, lines):
                code = str(document.get("lang")).split("_")[0]
                if document["source"] in SOURCES:
                    yield document["source"], code, document["text"]
                elif document["source"] == TRANSLATED and code in CODES:
                    yield TRANSLATED, CODES[code], document["text"]


def speeds(texts: Sequence[str], runs: int) -> list[tuple[object, ...]]:
    """Rows of the first table: each detector on the first characters of texts, then on whole texts."""
    rows: list[tuple[object, ...]] = []
    whole = pa.array(texts, pa.large_string())
    for characters in (Language().characters, None):
        lines = [text[:characters].replace("\n", " ") for text in texts]
        size = size_of(pa.array(lines, pa.large_string())) / 1e6
        measure = Language(characters=characters).open({"model": Path(installed_model())})
        batch, model = pa.record_batch({TEXT: whole}), fasttext.load_model(installed_model())
        calls: dict[str, Callable[[], object]] = {
            "gristmill": lambda measure=measure, batch=batch: measure(batch),
            "fasttext": lambda model=model, lines=lines: model.predict(lines, k=2),
        }
        if pycld2 is not None:
            calls["pycld2"] = lambda lines=lines: [by_pycld2(line) for line in lines]
        rounds = [{name: median_seconds(call, 1) for name, call in calls.items()} for _ in range(runs)]
        seconds = {name: statistics.median(taken[name] for taken in rounds) for name in calls}
        for name, median in seconds.items():
            ratio = statistics.median(taken[name] / taken["gristmill"] for taken in rounds)
            rows.append((characters or "all", name, size / median, len(texts) / median, ratio))
    return rows


def accuracies(documents: Sequence[tuple[str, str, str]]) -> list[tuple[object, ...]]:
    """Rows of the second table: the share of the documents whose language each detector names."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for source, language, text in documents:
        named = "as it is named" if source == TRANSLATED else language
        groups.setdefault((source, named), []).append((language, text))
    rows: list[tuple[object, ...]] = []
    for (source, language), members in sorted(groups.items()):
        languages, texts = zip(*members, strict=True)
        shares = []
        for detect in DETECTORS.values():
            answers = detect(pa.array(texts, pa.large_string()))
            shares.append(f"{sum(a == b for a, b in zip(answers, languages, strict=True)) / len(texts):.3f}")
        rows.append((source, language, len(texts), *shares))
    return rows


def by_measure(texts: pa.LargeStringArray) -> list[str | None]:
    """Languages by the measure, with its defaults."""
    measure = Language().open({"model": Path(installed_model())})
    return list(measure(pa.record_batch({TEXT: texts})).column("lang").to_pylist())


def by_pycld2(text: str) -> str | None:
    """The language of a text by pycld2, in lid.176's names; None where it refuses the text."""
    try:
        code = pycld2.detect(text.encode(), bestEffort=True)[2][0][1]
    except pycld2.error:
        return None
    return {"iw": "he", "jw": "jv"}.get(code, str(code).split("-")[0])


DETECTORS: dict[str, Detector] = {"gristmill": by_measure}
if pycld2 is not None:
    first = Language().characters
    DETECTORS["pycld2"] = lambda texts: [by_pycld2(text[:first]) for text in texts.to_pylist()]


if __name__ == "__main__":
    main()
