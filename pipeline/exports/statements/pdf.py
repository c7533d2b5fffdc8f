"""Renders a statement as PDF with Typst, which runs in this process, without a browser and without a network.

The content is passed as JSON and read by the template as data: no text of it is ever parsed as markup. The template may read
files of its own folder only, and imports no package. The PDF has no time of writing and no random id, so that the same content
and fonts give the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path

import typst

from pipeline.exports.statements.content import Content


class PdfWriter:
    """Renders statements one after the other. The fonts are loaded once."""

    def __init__(self, templates: Path) -> None:
        """`templates`: the folder with statement.typ.

        Letters are those of the fonts inside Typst (Latin, Greek, Cyrillic, Hebrew); other scripts are drawn with the fonts of
        the machine, if it has one for them.
        """
        self._compiler = typst.Compiler(str(templates / "statement.typ"), root=str(templates))

    def render(self, content: Content) -> bytes:
        """The bytes of a PDF file."""
        rendered = self._compiler.compile(sys_inputs={"statement": json.dumps(content)}, format="pdf")
        assert isinstance(rendered, bytes)
        return rendered
