"""From the bytes of a page to its text: HTTP messages, encodings, extractors."""
