"""Links of a page to files of the project that are no pages, such as ../examples/echo_server.py.

They work where the repository is browsed. The site has no such files, so there a link to one that the page
`examples` shows goes to it, and any other becomes its text. A link to what does not exist is a warning.
"""

from pathlib import Path

from docutils import nodes
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

logger = logging.getLogger(__name__)


class OutsideLinks(SphinxTransform):
    # Before MyST looks at them.
    default_priority = 5

    def apply(self):
        page = Path(self.env.doc2path(self.env.docname))
        docs = Path(self.env.srcdir)
        for node in list(self.document.findall(nodes.Element)):
            target = node.get("reftarget") or node.get("refuri") or ""
            if not isinstance(target, str) or not target.startswith(("../", str(docs.parent))):
                continue
            # MyST makes an absolute path of one to a Markdown file, and takes the suffix away.
            suffix = ".md" if target.startswith("/") else ""
            path = (page.parent / (target.partition("#")[0] + suffix)).resolve()
            if path.is_relative_to(docs):
                continue
            if not path.exists():
                logger.warning("no such file: %s", target, location=node)
            shown = path.is_relative_to(docs.parent / "examples")
            if shown and self.env.docname != "examples":
                name = path.name.replace("_", "-").replace(".", "-")
                node.replace_self(
                    make_refnode(
                        self.app.builder, self.env.docname, "examples", name, node.children
                    )
                )
            else:
                node.replace_self(nodes.inline("", "", *node.children))


def setup(app):
    app.add_transform(OutsideLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
