"""The options that `pii` and `mask_pii` share: a document is masked as it is counted."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from gristmill.operators.personal_data.occurrences import KINDS, Kind


def _in_order(kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
    return tuple(kind for kind in KINDS if kind in kinds)


#: Kinds of personal data, each once, in one order however they are listed.
Kinds = Annotated[tuple[Kind, ...], Field(min_length=1), AfterValidator(_in_order)]
#: Regions by their two letters.
Regions = tuple[Annotated[str, Field(pattern="^[A-Z]{2}$")], ...]

#: Kinds that need no library of their own.
WITHOUT_LIBRARY: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "phone")

REGIONS_DESCRIPTION = "regions (ISO 3166) whose telephone numbers are found without + and a country code"
