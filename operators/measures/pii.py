"""The measure `pii`: how often personal data of each kind occur in a document."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from gristmill.operators.arrays import column
from gristmill.operators.base import Documents, Files, Measure, MeasureFunction, field
from gristmill.operators.columns import TEXT
from gristmill.operators.personal_data.finder import Finder
from gristmill.operators.personal_data.occurrences import REGIONS_DESCRIPTION, WITHOUT_LIBRARY, Kind, Kinds, Regions

DESCRIPTIONS: dict[Kind, str] = {
    "email": "e-mail addresses, ids of messages and reserved domains (example.com) left out",
    "ip": "public IP addresses, IPv4 and IPv6",
    "phone": "valid telephone numbers, international ones and those of phone_regions",
    "iban": "bank accounts: IBAN with the length of their country and right check digits",
    "card": "payment cards: numbers of an issuer with the right check digit",
    "secret": "private keys, and keys and tokens of well-known services",
}


class Pii(Measure):
    """Personal data of each kind, counted: columns pii_email, pii_ip, pii_phone, pii_iban, pii_card, pii_secret.

    Finds what `mask_pii` masks, with the same options: a value that occurs twice counts twice. `drop: pii_secret > 0`
    drops documents with secrets. `pii: [email, ip]` counts these two only.

    The kind `phone` needs `pip install 'gristmill[pii]'` and is counted where it is asked for.
    """

    shorthand: ClassVar[str | None] = "kinds"

    kinds: Kinds = Field(
        default=WITHOUT_LIBRARY, description="kinds that are counted: email, ip, phone, iban, card, secret"
    )
    phone_regions: Regions = Field(default=("US",), description=REGIONS_DESCRIPTION)

    def gives(self) -> pa.Schema:
        """Return a column (uint32) for each kind that is counted."""
        return pa.schema([field(f"pii_{kind}", pa.uint32(), DESCRIPTIONS[kind]) for kind in self.kinds])

    def kernels(self) -> tuple[str, ...]:
        """Return the groups of kernels that it calls."""
        return ("personal_data",)

    def check(self, files: Files) -> None:
        """Raise RecipeError where the library for telephone numbers is missing, or a region is none."""
        Finder(self.kinds, self.phone_regions)

    def open(self, files: Files) -> MeasureFunction:
        """Return a thread-safe function from documents (n rows) to the columns of `gives` (n rows)."""
        finder, schema = Finder(self.kinds, self.phone_regions), self.gives()

        def measure(documents: Documents) -> pa.RecordBatch:
            texts = documents.column(TEXT)
            counts = np.zeros((len(self.kinds), len(texts)), np.uint32)
            for position, _, occurrences in finder.occurrences(texts):
                for occurrence in occurrences:
                    counts[self.kinds.index(occurrence.kind), position] += 1
            return pa.record_batch([column(row, texts, pa.uint32()) for row in counts], schema=schema)

        return measure
