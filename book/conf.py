"""The book: Sphinx and MyST-NB over the executed notebooks. Nothing is run, nothing is fetched.

``python -m sphinx -W -b html book OUT`` builds it; ``python book/check_in_browser.py OUT`` opens
every page.
"""

import os
import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import pld_edu  # noqa: E402

# The one place that knows the public address: Colab, Binder and edit links are made of it. GitHub
# sets the variable in its own builds. Without it the links lead nowhere: no account has this name.
REPOSITORY = os.environ.get("GITHUB_REPOSITORY", "YOUR_ACCOUNT/pld_edu")
BRANCH = "main"

project = "pld_edu"
author = "the pld_edu contributors"
copyright = f"2026, {author}"
version = release = pld_edu.__version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.bibtex",
    "chapters",
    "public_names",
    "recorded",
]
exclude_patterns = ["generated", "**.ipynb_checkpoints"]

nb_execution_mode = "off"
nb_merge_streams = True
nb_code_prompt_show = nb_code_prompt_hide = "how it is drawn"  # folded cells draw (tag hide-input)
nb_ipywidgets_js = {}  # their default comes from another host
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"

autodoc_inherit_docstrings = False  # those of PyTorch link to its own pages
autodoc_typehints = "none"
autodoc_member_order = "bysource"
default_role = "py:obj"
numpydoc_show_class_members = False

mathjax_path = "mathjax/tex-svg-full.js"
mathjax3_config = {"svg": {"fontCache": "global"}, "options": {"enableMenu": False}}

html_title = "pld_edu"
html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}
html_domain_indices = html_use_index = False
html_copy_source = True
html_show_sphinx = False
html_theme_options = {
    "repository_url": f"https://github.com/{REPOSITORY}",
    "repository_branch": BRANCH,
    "use_repository_button": True,
    "use_edit_page_button": True,
    "launch_buttons": {
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
        "notebook_interface": "jupyterlab",
    },
    "home_page_in_toc": True,
    "navbar_persistent": [],
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def setup(app: Sphinx) -> None:
    """Connect what follows."""
    app.connect("autodoc-skip-member", without_aliases)


def without_aliases(app: Sphinx, what: str, name: str, member: object, *_: object) -> bool | None:
    """Leave out "Alias for field number 0": a named tuple's docstring says what its fields are."""
    return True if (member.__doc__ or "").startswith("Alias for field number") else None
