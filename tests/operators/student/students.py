"""Small students on disk."""

from __future__ import annotations

import atexit
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from gristmill.operators.student.calibration import Calibration
from gristmill.operators.student.features import Ngrams
from gristmill.operators.student.linear import Student, fit
from gristmill.operators.student.student import CALIBRATION
from tests.support import make_documents


@cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="gristmill-students-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def small_student(kind: Literal["choice", "scale", "multi"], labels: tuple[str, ...]) -> Student:
    """A student of some documents whose labels say how long they are."""
    texts = pa.array([document["text"] for document in make_documents(60)], pa.large_string())
    ngrams = Ngrams(2, 1 << 10)
    counts = ngrams.occurrences(texts)
    rarity = counts.rarity(ngrams.buckets)
    targets = np.eye(len(labels))[np.arange(60) * 7 % 160 * len(labels) // 160]
    return fit(kind, labels, ngrams, counts.rows(rarity), rarity, targets).student


def student_file(kind: Literal["choice", "scale", "multi"], labels: tuple[str, ...]) -> Path:
    """The file of a small student, its calibration beside it."""
    path = _folder() / f"{kind}-{'-'.join(labels)}.bin"
    if not path.exists():
        path.write_bytes(small_student(kind, labels).to_bytes())
        calibration = Calibration("temperature", 1.5)
        Path(str(path) + CALIBRATION).write_text(json.dumps(calibration.to_json()))
    return path
