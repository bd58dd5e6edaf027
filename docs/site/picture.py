"""Take the README's pictures of a report: `python -m docs.site.picture demo/store/runs/.../report.html`.

It needs the extra `browser`, and Chromium. Sections between the funnel and the histograms are left out.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

ASSETS = Path(__file__).parents[1] / "assets"
LEFT_OUT = "section:has(#losses), section:has(#length), section:has(#funnel) details { display: none }"
WIDTH, HEIGHT = 1240, 1130


def main(report: str) -> None:
    """Write one picture for light pages and one for dark ones."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            context = chromium.new_context(
                viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme, bypass_csp=True
            )
            page = context.new_page()
            page.goto(Path(report).absolute().as_uri())
            page.add_style_tag(content=LEFT_OUT)
            page.screenshot(path=ASSETS / f"report-{scheme}.png")
        chromium.close()


if __name__ == "__main__":
    main(sys.argv[1])
