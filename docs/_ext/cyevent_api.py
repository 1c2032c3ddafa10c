"""The API reference: docstrings are the extension modules', types are the stubs'.

Neither source has both. An extension module knows its docstrings, and of its arguments little more than the
names; a stub has the types and no docstrings. sphinx.ext.autodoc takes either the one or the other, so these
directives put them together as MyST text, from which Sphinx' Python domain makes entries:

    {cyevent-api} EventBase bufferevent_pair      classes with all of their members, and functions
    {cyevent-constants}                           NAME: meaning, one a line or more

A public name of the stubs that no page has, a name that does not exist, and a member without a docstring are
warnings, and with -W errors.
"""

import ast
import copy
import inspect
import re
import textwrap
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import cyevent

logger = logging.getLogger(__name__)
PACKAGE = Path(cyevent.__file__).parent

# Methods whose meaning is the language's; they are shown where they have docstrings of their own.
SPECIAL = ("__iter__", "__len__", "__bytes__", "__contains__", "__getitem__")


# --- the stubs --------------------------------------------------------------------------------------


class Stubs:
    """What the .pyi files declare: classes and functions by their public names."""

    def __init__(self):
        self.public = set()
        self.definitions = {}
        tree = ast.parse((PACKAGE / "__init__.pyi").read_text())
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                self.add(node)
            elif isinstance(node, ast.ImportFrom):
                self.follow(node)

    def add(self, node):
        self.public.add(node.name)
        self.definitions[node.name] = node

    def follow(self, node):
        if any(alias.name == "*" for alias in node.names):
            module = __import__(node.module, fromlist=["*"])
            self.public.update(name for name in vars(module) if name.isupper())
            return
        names = {alias.name for alias in node.names}
        path = PACKAGE.parent.joinpath(*node.module.split(".")).with_suffix(".pyi")
        if path.exists():
            for found in ast.parse(path.read_text()).body:
                if isinstance(found, (ast.ClassDef, ast.FunctionDef)) and found.name in names:
                    self.definitions[found.name] = found
        self.public.update(names - {"__version__"})

    def members(self, name):
        """A class's members in the stub's order, those of base classes that are not public among them."""
        node = self.definitions[name]
        found = {}
        for base in node.bases:
            hidden = ast.unparse(base)
            if hidden not in self.public:
                found.update(self.hidden_members(name, hidden))
        for member in node.body:
            target = getattr(member, "name", None)
            if isinstance(member, ast.AnnAssign):
                target = member.target.id
            if target is not None and not is_setter(member):
                found[target] = member
        return found

    def hidden_members(self, name, hidden):
        module = getattr(cyevent, name).__module__
        path = PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".pyi")
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name == hidden:
                return {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
        return {}


def decorators(node):
    return [ast.unparse(item) for item in getattr(node, "decorator_list", ())]


def is_setter(node):
    return any(name.endswith(".setter") for name in decorators(node))


def signature(node, *, bound=False, returns=True):
    """The argument list and the result as the stub has them, without self."""
    arguments = copy.deepcopy(node.args)
    if bound:
        del (arguments.posonlyargs or arguments.args)[0]
    text = f"({ast.unparse(arguments)})"
    if returns and node.returns is not None:
        text += f" -> {ast.unparse(node.returns)}"
    return text


STUBS = Stubs()


# --- the docstrings ---------------------------------------------------------------------------------

ITEM = re.compile(r"(?:^|(?<=\.  )|(?<=\w  ))(\w+(?:, \w+)*)(?: \(([^)]*)\))?: ")


def docstring(thing, name):
    """The docstring without the signature that Cython puts in front of it."""
    text = thing.__doc__ or ""
    if isinstance(thing, (staticmethod, classmethod)):
        text = thing.__func__.__doc__ or ""
    first, _, rest = text.partition("\n")
    if re.match(rf"(\w+\.)*{re.escape(name)}\(", first):
        text = rest
    return inspect.cleandoc(text)


def as_markdown(text, scope=()):
    """Docstrings are plain text with `names`; paragraphs whose lines begin with `name: ` are lists."""
    blocks = [paragraph(block, scope) for block in re.split(r"\n\s*\n", text) if block.strip()]
    return "\n\n".join(blocks)


def paragraph(block, scope):
    if not ITEM.match(block):
        return inline(block, scope)
    items = []
    for line in block.splitlines():
        starts = [match.start(1) for match in ITEM.finditer(line)]
        if not starts or starts[0] != 0:
            starts = [0, *starts]
        for begin, end in zip(starts, [*starts[1:], len(line)], strict=True):
            piece = line[begin:end].strip()
            match = ITEM.match(piece)
            if match:
                unit = f" ({inline(match[2], scope)})" if match[2] else ""
                items.append(
                    [f"- **{escape(match[1])}**{unit}: {inline(piece[match.end() :], scope)}"]
                )
            elif piece:
                items[-1].append("  " + inline(piece, scope))
    return "\n".join("\n".join(item) for item in items)


def escape(text):
    return re.sub(r"([*_<\[\\])", r"\\\1", text)


def inline(text, scope):
    """Escapes what Markdown would heed, and makes links of the `names` that have an entry."""
    pieces = re.split(r"(`[^`\n]+`)", text)
    for i, piece in enumerate(pieces):
        if piece.startswith("`") and len(piece) > 2:
            pieces[i] = link(piece[1:-1], scope)
        else:
            pieces[i] = escape(piece)
    return "".join(pieces)


def link(name, scope):
    bare = name.partition("(")[0]
    for owner in scope:
        if hasattr(getattr(cyevent, owner, None), bare):
            return f"{{py:obj}}`{name} <cyevent.{owner}.{bare}>`"
    first, _, member = bare.partition(".")
    if first in STUBS.public and (not member or hasattr(getattr(cyevent, first), member)):
        return f"{{py:obj}}`{name} <cyevent.{bare}>`"
    return f"`{name}`"


# --- the directives ---------------------------------------------------------------------------------


def entry(kind, heading, body, *, options=(), depth=3):
    fence = ":" * depth
    lines = [f"{fence}{{py:{kind}}} {heading}", ":module: cyevent", *options, "", body, fence, ""]
    return "\n".join(lines)


class Api(SphinxDirective):
    required_arguments = 1
    final_argument_whitespace = True

    def run(self):
        self.env.note_dependency(__file__)
        text = []
        for name in self.arguments[0].split():
            definition = STUBS.definitions.get(name)
            if definition is None:
                logger.warning("%s is not public", name, location=self.get_location())
                continue
            note(self.env, name)
            if isinstance(definition, ast.ClassDef):
                text.append(self.of_class(name, definition))
            else:
                body = self.docstring(getattr(cyevent, name), name, name)
                text.append(entry("function", name + signature(definition), body))
        return self.parse("\n".join(text))

    def parse(self, text):
        source, _ = self.get_source_info()
        container = nodes.container()
        lines = StringList(text.splitlines(), source=source)
        self.state.nested_parse(lines, self.content_offset, container)
        return container.children

    def docstring(self, thing, name, shown, scope=()):
        text = docstring(thing, name)
        if not text:
            logger.warning("%s has no docstring", shown, location=self.get_location())
        return as_markdown(text, scope)

    def of_class(self, name, definition):
        cls = getattr(cyevent, name)
        bases = [base for base in map(ast.unparse, definition.bases) if base in STUBS.public]
        scope = (name, *bases)
        members = STUBS.members(name)
        made = members.pop("__init__", None) or members.pop("__new__", None)
        # Classes that only functions make have no arguments to show.
        heading = name
        if made is not None and ast.unparse(made.args) != "self, *args: object, **kwargs: object":
            heading += signature(made, bound=True, returns=False)
        body = [f"Bases: {', '.join(link(base, ()) for base in bases)}", ""] if bases else []
        body.append(self.docstring(cls, name, name, scope))
        for member, node in members.items():
            if member.startswith("_") and member not in SPECIAL:
                continue
            body += ["", self.of_member(cls, name, member, node, scope)]
        return entry("class", heading, "\n".join(body), depth=5)

    def of_member(self, cls, name, member, node, scope):
        thing = inspect.getattr_static(cls, member, None)
        # A plain attribute has no docstring of its own, and is described with the class.
        described = re.search(rf"^\s*{member}: ", cls.__doc__ or "", re.MULTILINE)
        text = "" if described else self.docstring(thing, member, f"{name}.{member}", scope)
        if isinstance(node, ast.AnnAssign):
            options = [f":type: {ast.unparse(node.annotation)}"]
            return entry("attribute", member, text, options=options)
        if "property" in decorators(node):
            options = [f":type: {ast.unparse(node.returns)}"]
            return entry("property", member, text, options=options)
        static = "staticmethod" in decorators(node)
        options = [":staticmethod:"] if static else []
        options += [":classmethod:"] if "classmethod" in decorators(node) else []
        return entry("method", member + signature(node, bound=not static), text, options=options)


class Constants(Api):
    """Each constant with its value and the meaning that the page gives."""

    required_arguments = 0
    optional_arguments = 0
    has_content = True

    def run(self):
        text = []
        content = "\n".join(self.content)
        for match in re.finditer(r"^(\w+): (.*(?:\n(?!\w+: ).*)*)", content, re.MULTILINE):
            name, meaning = match.groups()
            value = getattr(cyevent, name, None)
            if name not in STUBS.public or not isinstance(value, int):
                logger.warning("%s is no public constant", name, location=self.get_location())
                continue
            note(self.env, name)
            bits = not name.startswith(("EVENT_LOG", "EOL_", "BEV_OK", "BEV_NORMAL"))
            options = [f":value: {hex(value) if bits and value > 9 else value}"]
            text.append(entry("data", name, inline(textwrap.dedent(meaning), ()), options=options))
        return self.parse("\n".join(text))


def note(env, name):
    documented = getattr(env, "cyevent_documented", None)
    if documented is None:
        documented = env.cyevent_documented = {}
    documented.setdefault(env.docname, set()).add(name)


def forget(app, env, docname):
    getattr(env, "cyevent_documented", {}).pop(docname, None)


def merge(app, env, docnames, other):
    for docname in docnames:
        for name in getattr(other, "cyevent_documented", {}).get(docname, ()):
            env.cyevent_documented.setdefault(docname, set()).add(name)


def check(app, env):
    documented = set().union(*getattr(env, "cyevent_documented", {}).values())
    for name in sorted(STUBS.public - documented):
        logger.warning("the reference in docs/api has no %s", name)


def setup(app):
    app.add_directive("cyevent-api", Api)
    app.add_directive("cyevent-constants", Constants)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
