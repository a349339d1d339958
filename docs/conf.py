"""Settings of the site that `make docs` builds with Sphinx from the repository: README, docs/ and experiments/."""

import os
import re
import sys
from pathlib import Path

import latex2mathml.converter
from docutils.nodes import SkipNode

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))

# An empty profile, so that the settings of a user change nothing, and kernels that do not warn of their connection.
ipython_profile = REPOSITORY / "build" / "ipython" / "profile_default"
ipython_profile.mkdir(parents=True, exist_ok=True)
(ipython_profile / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 40\n", "utf-8")
os.environ["IPYTHONDIR"] = str(ipython_profile.parent)
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # tutorials call jaxstruc

import generate_pages  # noqa: E402

import jaxstruc  # noqa: E402

project = author = "jaxstruc"
copyright = "the authors of jaxstruc, Apache 2.0"
release = version = jaxstruc.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**.md", "experiments/**.md"]
exclude_patterns = [".*", "build", "dist", "runs", "out", "demo-out", "tests", "jaxstruc", "tools"]

html_theme = "furo"
html_title = f"jaxstruc {version}"
html_extra_path = ["redirect"]
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
highlight_language = "none"
smartquotes = False  # they would join the two hyphens of an option
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath", "attrs_inline"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 1200  # s for a cell; a busy machine needs several times as long as a quiet one
nb_execution_raise_on_error = True
nb_merge_streams = True

default_role = "literal"
suppress_warnings = ["ref.python"]  # a type that is an attribute of several results, e.g. distribution, gets no link
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
toc_object_entries = False


def write_inline_math(translator, node) -> None:
    """Write a formula in the text as MathML, which browsers show without a script."""
    translator.body.append(latex2mathml.converter.convert(node.astext()))
    raise SkipNode


def write_display_math(translator, node) -> None:
    """Write a formula on its own line as MathML."""
    formula = latex2mathml.converter.convert(node.astext(), display="block")
    translator.body.append(f'<div class="math">{formula}</div>')
    raise SkipNode


def keep_attribute_text(app, what, name, entry, options, lines) -> None:
    """Prevent Napoleon from reading the words before a colon in the text of an attribute as its type."""
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # an empty comment


def read_docstring_as_markdown(app, what, name, entry, options, lines) -> None:
    """Change the formulas and the indented examples of a docstring from Markdown to the syntax of Sphinx."""
    parts = re.split(r"(``?[^`]+``?|\$\$[^$]+\$\$|(?<!\\)\$[^$]+\$)", "\n".join(lines))
    for index, part in enumerate(parts):
        if part.startswith("$$"):
            parts[index] = f"\n\n.. math:: {' '.join(part[2:-2].split())}\n\n"
        elif part.startswith("$"):
            parts[index] = f":math:`{' '.join(part[1:-1].split())}`\\ "
        elif part.startswith("`"):
            parts[index] = f"{part}\\ " if re.match(r"\w", parts[index + 1]) else part
        else:
            parts[index] = re.sub(r"(?<!\\)([|*])", r"\\\1", part)
    paragraphs = re.split(r"(\n\s*\n)", "".join(parts))
    for index, paragraph in enumerate(paragraphs):
        if re.match(r"    (jaxstruc|python|data =)", paragraph):
            paragraphs[index] = f"::\n\n{paragraph}"
    lines[:] = "".join(paragraphs).split("\n")


def shorten_types(app, what, name, entry, options, signature, return_annotation):
    """Return a signature in which the type of arrays has its public name."""
    return tuple(text and text.replace("jaxlib._jax.Array", "Array") for text in (signature, return_annotation))


def setup(app) -> None:
    """Register the formulas and the docstrings, and write the generated pages."""
    app.add_html_math_renderer("mathml", (write_inline_math, None), (write_display_math, None))
    app.connect("autodoc-process-signature", shorten_types)
    app.connect("autodoc-process-docstring", keep_attribute_text, priority=400)
    app.connect("autodoc-process-docstring", read_docstring_as_markdown, priority=600)
    generate_pages.write_pages(Path(__file__).with_name("generated"))
