"""Sphinx builds the documentation site with this file: ``make html``."""

import os
import sys
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

from mmsr4ir.version import __version__  # noqa: E402

project = 'mmsr4ir'
author = 'The mmsr4ir contributors'
project_copyright = author
version = release = __version__

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.autosummary',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
]
root_doc = 'index'
exclude_patterns = ['_build', '_templates']
templates_path = ['_templates']

# The anchors that GitHub gives to headings, down to the fourth level.
myst_heading_anchors = 4

# The address of the repository's files, as https://host/owner/name/blob/main. If it is
# not set, a link from a page to such a file becomes plain text.
repository_url = os.environ.get('REPOSITORY_URL', '').rstrip('/')

# Autosummary looks for the modules itself and writes a page for each into docs/api. A
# name that a package re-exports is documented in the module that defines it.
autosummary_generate = True
autosummary_ignore_module_all = True
autosummary_imported_members = False
autodoc_member_order = 'bysource'
autodoc_typehints_format = 'short'
python_maximum_signature_line_length = 88
# The docstrings of the base classes belong to OpenMMLab and torch.
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
# Single backticks in docstrings mark code.
default_role = 'code'

html_theme = 'furo'
html_title = f'mmsr4ir {release}'


class RepositoryLinks(SphinxTransform):
    """Point links to files outside ``docs`` at the repository.

    MyST treats a link to such a file as a link to a page or as a download.
    """

    default_priority = 5  # before Sphinx collects what can be downloaded

    def apply(self) -> None:
        """Replace the links of one page."""
        for link in list(self.document.findall(addnodes.pending_xref)):
            self.replace(link)
        for link in list(self.document.findall(addnodes.download_reference)):
            self.replace(link)

    def replace(self, link: nodes.Element) -> None:
        """Replace a link by an address below ``repository_url``, or by its text."""
        if link.get('reftype') != 'myst':
            return
        if link['refdomain'] == 'doc':  # MyST has taken off the suffix
            file = DOCS / f'{link["reftarget"]}.md'
            anchor = link['reftargetid']
        else:
            target, _, anchor = link['reftarget'].partition('#')
            file = Path(self.env.doc2path(self.env.docname)).parent / target
        file = file.resolve()
        if file.is_relative_to(DOCS) or not file.exists():
            return
        text = link.children
        if repository_url:
            address = f'{repository_url}/{file.relative_to(ROOT).as_posix()}'
            address += f'#{anchor}' if anchor else ''
            text = [nodes.reference('', '', *text, refuri=address, internal=False)]
        link.replace_self(text)


def setup(app: Sphinx) -> None:
    """Register the transform."""
    app.add_transform(RepositoryLinks)
