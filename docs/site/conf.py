"""The documentation site: Sphinx reads the repository's own pages where they lie, so that links work there and here.

`scripts/docs` builds it; docs/decisions/0039 says why so.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import mermaidx
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from retrieval import __version__

CONTENTS = {
    "Use": "docs/search docs/training docs/service docs/dashboard docs/cli docs/notebook docs/reference",
    "Run": "docs/operations docs/reliability docs/scaling",
    "Understand": "docs/benchmarks docs/architecture docs/decisions/README",
    "Contribute": "CONTRIBUTING CHANGELOG",
}
"""The menu; the front page, README.md, has none of its own."""
MENU = "\n```{{toctree}}\n:hidden:\n{}\n\n{}\n```\n"
FIELD = re.compile(r"(\w+): ")

project, author, release = "retrieval", "", __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
root_doc = "README"
source_suffix = {".md": "markdown", ".ipynb": "markdown"}
include_patterns = ["*.md", "docs/**.md", "docs/*.ipynb"]
exclude_patterns = [".*", "dist", "infra", "retrieval", "scripts", "site", "tests"]
default_role = "code"
smartquotes = False  # `--option` in a title would become a dash in the menu

myst_heading_anchors = 6
myst_fence_as_directive = ["mermaid"]

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
add_module_names = False
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_favicon = "icon.svg"
html_title = f"retrieval {release}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False


class Mermaid(SphinxDirective):
    """A diagram in Mermaid's language, drawn as SVG while the site is built."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        settings = {"securityLevel": "strict", "fontFamily": "inherit"}
        drawn = mermaidx.render("\n".join(self.content), config=settings).svg()
        drawn = drawn.replace("my-svg", f"diagram-{self.env.new_serialno('diagram')}")
        drawn = re.sub(r"max-width: ([\d.]+px)", r"max-width: \1; min-width: min(\1, 44rem)", drawn, count=1)
        return [nodes.raw("", f'<div class="diagram">{drawn}</div>', format="html")]


def read_notebook(app: Sphinx, page: str, text: list[str]) -> None:
    """Turn a notebook into Markdown; it has no outputs."""
    if app.env.doc2path(page).suffix == ".ipynb":
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text[0])["cells"]]
        text[0] = "\n\n".join(words if kind == "markdown" else f"```python\n{words}\n```" for kind, words in cells)


def list_pages(app: Sphinx, page: str, text: list[str]) -> None:
    """Append the menu to the front page, and the records to their list."""
    if page == "docs/decisions/README":
        text[0] += MENU.format(":glob:", "0*")
    elif page == app.config.root_doc:
        for name, pages in CONTENTS.items():
            text[0] += MENU.format(f":caption: {name}", "\n".join(pages.split()))


def mark_fields(_app: Sphinx, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Turn lines such as `k: hits per query` of a docstring into a field list, and set the text after it apart."""
    out: list[str] = []
    in_field = False
    for line in lines:
        if FIELD.match(line):
            out += [f":param {line}"] if in_field else ["", f":param {line}"]
            in_field = True
        elif in_field and not line.startswith("  "):
            out += ["", line]
            in_field = False
        else:
            out.append(line)
    lines[:] = out


def draw_dashes(_app: Sphinx, page: nodes.document) -> None:
    """Sphinx writes two hyphens after a field's name, and leaves the dash to the smart quotes that are off here."""
    for text in list(page.findall(lambda node: isinstance(node, nodes.Text) and node == " -- ")):
        text.parent.replace(text, nodes.Text(" – "))


def write_index(app: Sphinx, error: Exception | None) -> None:
    """The front page is what a folder's address shows."""
    if error is None:
        shutil.copy(Path(app.outdir, f"{app.config.root_doc}.html"), Path(app.outdir, "index.html"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls it."""
    app.add_directive("mermaid", Mermaid)
    app.connect("source-read", read_notebook)
    app.connect("source-read", list_pages)
    app.connect("autodoc-process-docstring", mark_fields)
    app.connect("doctree-read", draw_dashes)
    app.connect("build-finished", write_index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
