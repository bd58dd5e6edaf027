"""The label store: what was answered, by whom, and what was paid for it."""

from gristmill.pipelines.label.store.label_store import DOCUMENTS, LabelStore, fingerprints, is_scale, open_stored

__all__ = ["DOCUMENTS", "LabelStore", "fingerprints", "is_scale", "open_stored"]
