"""Puts the page together: the template, its style and script, and the data of the runs.

The page's content security policy forbids everything but this style, this script (both by their
SHA-256) and images that the page holds itself.
"""

import base64
import functools
import hashlib
import html as html_text
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def html(data: Mapping[str, Any], *, link: bool = False) -> str:
    """Returns the page.

    Args:
      data: what `page.js` shows. All its texts are shown as text, whatever they hold.
      link: also allow images in files.
    """
    style, script = _file("page.css"), _file("page.js")
    own_files = " file: 'self'" if link else ""
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        f"img-src data:{own_files}; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": html_text.escape(_encodable(", ".join(run["name"] for run in data["runs"]))),
        "style": style,
        "script": script,
        # Without `<` nothing in it can end the block, or begin a comment.
        "data": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    # In one pass, so that a name of a part within a part stays as it is.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _file("page.html"))


def _encodable(text: str) -> str:
    """Returns a text with `?` for what UTF-8 does not have, such as bytes of a file's odd name."""
    return text.encode(errors="replace").decode()


@functools.cache
def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
