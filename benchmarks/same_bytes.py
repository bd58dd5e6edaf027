"""Compare the datasets of this code and of an earlier: every recipe of configs/ and of the demo, on both engines.

    python -m benchmarks.same_bytes --baseline CHECKOUT [--engines local ray]

Each code runs its own recipes over copies of the same packages, from an empty store. All files of all datasets are
compared byte by byte, manifests but for the version of the code. Then this code runs every recipe once more on the
store that the earlier code left: no text may be measured again, and each dataset must be the one that is there. Ends
with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.corpus import ROOT, WORK
from benchmarks.end_to_end import entry
from tests.pipelines.label.endpoint import endpoint
from tests.support import copy_package

PACKAGES = ("numpy", "rich", "typer", "pip")
SIDES = {"positive": "explained", "negative": "reference"}
DEMO = ("harvest", "explained", "reference", "numeric", "curate")
RECIPES = ("dedup", "fuzzy", "gopher", "paragraphs", "quickstart", "label")


class Checkout:
    """A checkout whose code runs recipes in a folder, by one engine."""

    def __init__(self, code: Path, folder: Path, engine: str, url: str) -> None:
        self.code, self.folder, self.engine = code, folder, engine
        labels = {"LABEL_URL": url, "LABEL_KEY": "sesame", "LABEL_MODEL": "m"}
        self.environment = {**os.environ, "PYTHONPATH": str(code), "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", **labels}

    def python(self, *arguments: str) -> str:
        """Return what Python prints; end the benchmark where it fails."""
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(f"{self.code}: {arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def gristmill(self, *arguments: str) -> str:
        """Return what the command prints."""
        return self.python(*entry(self.code)[1:], *arguments)

    def run(self, recipe: str) -> dict[str, Any]:
        """Run a recipe of configs/; return the JSON that it prints."""
        asked = ["run", f"configs/{recipe}.yaml", "--quiet", "--json", "--engine", self.engine]
        result: dict[str, Any] = json.loads(self.gristmill(*asked, *["--yes"] * (recipe == "label")))
        return result

    def run_all(self) -> dict[str, dict[str, Any]]:
        """Run the demo and all recipes, in the order in which one needs what another leaves."""
        results = {f"demo/{name}": self.run(f"demo/{name}") for name in DEMO[:-1]}
        sides = [f"--{side}=demo/store/datasets/{name}" for side, name in SIDES.items()]
        if not (self.folder / "demo" / "quality.bin").exists():
            self.gristmill("train", "quality", *sides, "--out", "demo/quality.bin")
        results["demo/curate"] = self.run("demo/curate")
        self.python("configs/demo/texts.py")
        return {**results, **{name: self.run(name) for name in RECIPES}}

    def digests(self) -> dict[str, str]:
        """Return the digest of each file of each dataset of the two stores, by its path."""
        found = sorted(path for path in self.folder.rglob("store/datasets/*/*/*") if path.is_file())
        return {str(path.relative_to(self.folder)): hashlib.sha256(_content(path)).hexdigest() for path in found}


def _content(path: Path) -> bytes:
    """The bytes of a file; of a manifest all but the version of the code, and the digest that it is a part of."""
    if path.name != "manifest.json":
        return path.read_bytes()
    held = json.loads(path.read_bytes())
    return json.dumps({key: value for key, value in held.items() if key not in ("code_version", "seal")}).encode()


def prepare(folder: Path, code: Path) -> None:
    """Lay out the recipes of a checkout and copies of the packages in an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    left_out = shutil.ignore_patterns("data", "store", "target", "models")
    shutil.copytree(code / "configs", folder / "configs", ignore=left_out)
    for name in PACKAGES:
        copy_package(name, folder / "site-packages")
    recipe = folder / "configs" / "demo" / "harvest.yaml"
    recipe.write_text(recipe.read_text().replace("path: auto", "path: ../../site-packages"))
    recipe = folder / "configs" / "demo" / "curate.yaml"
    recipe.write_text(re.sub(r"documents: \d+", "documents: 500", recipe.read_text()))


def compare(baseline: Path, engine: str, url: str) -> list[str]:
    """Return a line for everything that differs between the two codes by an engine."""
    before = Checkout(baseline, WORK / "same_bytes" / "before", engine, url)
    now = Checkout(ROOT, WORK / "same_bytes" / "now", engine, url)
    for checkout in (before, now):
        prepare(checkout.folder, checkout.code)
    results = before.run_all()
    now.run_all()
    earlier, later = before.digests(), now.digests()
    wrong = [f"{engine}: {name} differs" for name in sorted({*earlier, *later}) if earlier.get(name) != later.get(name)]
    on_old_store = Checkout(ROOT, before.folder, engine, url).run_all()
    for name, result in on_old_store.items():
        if result["measured_now"] or result["dataset"] != results[name]["dataset"]:
            wrong.append(f"{engine}: {name} is not cached on the store of the earlier code")
        if name != "label" and not result["cached"]:
            wrong.append(f"{engine}: {name} decides again on the store of the earlier code")
    print(f"{engine}: {len(later)} files of {len(results)} datasets, digest {digest(later)}, before {digest(earlier)}")
    return wrong


def digest(digests: dict[str, str]) -> str:
    """Return one digest of many."""
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=lambda path: Path(path).resolve(), required=True)
    parser.add_argument("--engines", nargs="+", default=["local", "ray"])
    options = parser.parse_args()
    with endpoint(answers={"array": "4", "return": "1", "a": "2"}) as server:
        wrong = [line for engine in options.engines for line in compare(options.baseline, engine, server.url)]
    print("\n".join(wrong) or "all datasets are the same, and cached")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
