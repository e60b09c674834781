"""Sections of a scenario that may be written as text, and what the text stands for."""

from __future__ import annotations

from collections.abc import Mapping

from simdml.documents.document import Document, KeyPath, from_mapping
from simdml.documents.overriding import assign

SHORT_FORMS: Mapping[str, str] = {"cluster": "name", "model": "name", "profile": "name", "communication": "library"}
"""Sections that may be text, and the key the text then stands for."""


def written_out(document: Document, steps: KeyPath) -> Document:
    """Return ``document`` with the section that ``steps`` enter as a mapping, if it is text: ``cluster: dgx_a100``."""
    section = str(steps[0])
    if len(steps) == 1 or section not in SHORT_FORMS or not isinstance(document.data.get(section), str):
        return document
    place = document.place((section,))
    mapping = from_mapping({SHORT_FORMS[section]: document.data[section]})
    placed = dict.fromkeys(mapping.value_places, place)
    return assign(document, (section,), Document(document.name, mapping.data, placed, placed), place.file)
