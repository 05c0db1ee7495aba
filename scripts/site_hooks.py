"""What the site does with a page before it is rendered (`mkdocs.yml`)."""

from __future__ import annotations

import re

_OUT_OF_DOCS = re.compile(r"\[([^\]\n]+)\]\((?:\.\./)+(?!decisions/)[^)\s]*\)")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links to code keep their text only, since the site has no code; `tests/repo/test_documents.py` checks them."""
    return _OUT_OF_DOCS.sub(r"\1", markdown)
