"""Secrets that can be told by how they are written: private keys, tokens and keys of well-known services, JWT.

Each form is that of the service's own documentation, in most cases as scanners of source code have it too (gitleaks,
`config/gitleaks.toml`). Passwords and keys without a form of their own are not found.
"""

from __future__ import annotations

import base64
import binascii
import json
import re

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.personal_data.occurrences import Occurrence

#: Forms by what they begin with, which the kernel looks for; sixteen bytes at most.
_FORMS = {
    (b"AKIA", b"ASIA"): rb"A[KS]IA[A-Z2-7]{16}",  # AWS: access keys, of users and of sessions
    (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"): rb"gh[pousr]_[A-Za-z0-9]{36,251}",  # GitHub
    (b"github_pat_",): rb"github_pat_[A-Za-z0-9_]{36,251}",
    (b"glpat-",): rb"glpat-[A-Za-z0-9_-]{20,64}",  # GitLab
    (b"xoxa-", b"xoxb-", b"xoxe-", b"xoxp-", b"xoxr-", b"xoxs-"): rb"xox[abeprs]-[A-Za-z0-9-]{20,250}",  # Slack
    (b"xapp-",): rb"xapp-\d-[A-Z0-9]{6,}-\d+-[a-z0-9]{32,}",
    (b"AIza",): rb"AIza[A-Za-z0-9_-]{35}",  # Google: API keys, then OAuth
    (b"GOCSPX-",): rb"GOCSPX-[A-Za-z0-9_-]{28}",
    (b"sk_live_", b"sk_test_", b"rk_live_", b"rk_test_"): rb"[sr]k_(?:live|test)_[A-Za-z0-9]{16,250}",  # Stripe
    # OpenAI, and others that took its form; Anthropic, OpenRouter
    (b"sk-",): rb"sk-(?:(?:proj|svcacct|admin|ant|or)-[A-Za-z0-9_-]{32,250}|[A-Za-z0-9]{32,64})",
    (b"hf_",): rb"hf_[A-Za-z0-9]{34}",  # Hugging Face
    (b"npm_",): rb"npm_[A-Za-z0-9]{36}",
    (b"pypi-AgEIcHlwaS5",): rb"pypi-AgEIcHlwaS5[A-Za-z0-9_-]{50,1000}",  # "pypi.org" in the head of a macaroon
    (b"SG.",): rb"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",  # SendGrid
}
_TOKEN = re.compile(rb"(?<![A-Za-z0-9_])(?:" + rb"|".join(_FORMS.values()) + rb")(?![A-Za-z0-9_])")

#: A JSON web token (RFC 7519): head, claims and signature in base64url, head and claims beginning with `{"`.
_JWT, _PART = b"eyJ", rb"[A-Za-z0-9_-]{10,}"
_JWT_FORM = re.compile(rb"(?<![A-Za-z0-9_])(eyJ" + _PART + rb")\.eyJ" + _PART + rb"\." + _PART + rb"(?![A-Za-z0-9_])")

#: A private key (RFC 7468; OpenSSH, PGP): its label, lines of base64 and its end, or as many lines as follow the label.
_KEY, _DASHES = b"BEGIN ", b"-----"
_LABEL = rb"(?:[A-Z]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----"
_KEY_FORM = re.compile(
    rb"BEGIN " + _LABEL + rb"(?>[ \t>|#\"'+]*+(?:[A-Za-z0-9+/=]+|[A-Za-z-]{3,20}: [^\n]{0,100})?[ \t\"'+,;]*"
    rb"(?:(?:\\r)?\\n|\r?\n|(?<=[A-Za-z0-9+/=]{40}) |\Z))*+(?:[ \t>|#\"'+]*-----END " + _LABEL + rb")?"
)
_LEAST_KEY = 64  # bytes of base64: less is a key that was left out
_LEAST_KINDS = 8  # different characters: fewer are XXXX, or dots


def prefixes() -> NDArray[np.uint8]:
    """Return the beginnings of all forms, uint8[p, 16], filled up with zeros: what `find_places` takes."""
    beginnings = [*(beginning for group in _FORMS for beginning in group), _JWT, _KEY]
    table = np.zeros((len(beginnings), 16), np.uint8)
    for row, beginning in zip(table, beginnings, strict=True):
        row[: len(beginning)] = list(beginning)
    table.flags.writeable = False
    return table


def find_secret(text: bytes, second: int) -> Occurrence | None:
    """Return the secret whose second byte stands at a place in the text, if it is one."""
    start = second - 1
    if text.startswith(_KEY, start):
        return _find_private_key(text, start)
    if text.startswith(_JWT, start):
        token = _JWT_FORM.match(text, start)
        valid = token is not None and _is_jwt_head(token[1])
    else:
        token = _TOKEN.match(text, start)
        valid = token is not None and _is_drawn(token[0])
    return Occurrence(start, token.end(), "secret", token[0]) if token is not None and valid else None


def _find_private_key(text: bytes, start: int) -> Occurrence | None:
    match = _KEY_FORM.match(text, start)
    if match is None or not text.endswith(_DASHES, 0, start):
        return None
    body = re.sub(rb"-----.*?-----|[^A-Za-z0-9+/=]", b"", _DASHES + match[0], flags=re.DOTALL)
    if len(body) < _LEAST_KEY or len(set(body)) < _LEAST_KINDS:
        return None
    return Occurrence(start - len(_DASHES), start + len(match[0].rstrip()), "secret", body)


def _is_drawn(token: bytes) -> bool:
    """Return whether a token may have been drawn at random, and is not a gap to fill in or the example of a manual.

    Words in small letters alone are such a gap: xoxb-your-token-goes-here.
    """
    words = token == token.lower() and not re.search(rb"\d", token)
    return len(set(token)) >= _LEAST_KINDS and not words and b"EXAMPLE" not in token


def _is_jwt_head(head: bytes) -> bool:
    """Return whether the first part of a token is a JSON object that names an algorithm (RFC 7515, section 4.1.1)."""
    try:
        decoded = json.loads(base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return False
    return isinstance(decoded, dict) and "alg" in decoded
