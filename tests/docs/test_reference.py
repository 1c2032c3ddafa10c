"""The API reference has every public name, each has a docstring, and the site is built without a warning."""

import ast
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from doc_blocks import ROOT

import cyevent

API = ROOT / "docs" / "api"
# What the language gives every class, or what only says what the language says.
UNDOCUMENTED = re.compile(r"__(?!iter__|bytes__)\w+__|_.*")


def public_names():
    """The names of the package's stub."""
    names = set()
    tree = ast.parse(Path(cyevent.__file__).with_name("__init__.pyi").read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name == "*":
                    module = importlib.import_module(node.module)
                    names.update(name for name in vars(module) if not name.startswith("_"))
                else:
                    names.add(alias.asname)
    return names - {"__version__"}


def documented_names():
    found = []
    for page in API.glob("*.md"):
        text = page.read_text()
        for names in re.findall(r"^:::\{cyevent-api\} (.*)$", text, re.MULTILINE):
            found += names.split()
        for block in re.findall(
            r"^:::\{cyevent-constants\}\n(.*?)^:::$", text, re.MULTILINE | re.DOTALL
        ):
            found += re.findall(r"^(\w+): ", block, re.MULTILINE)
    return found


def test_every_public_name_is_there_once():
    found = documented_names()
    assert sorted(found) == sorted(set(found))
    # One that is missing belongs in one of the pages of docs/api.
    assert set(found) == public_names()


def test_the_stub_has_what_there_is():
    assert public_names() == set(cyevent.__all__)


def own_docstring(thing, name):
    """The docstring without the signature that Cython puts before it."""
    text = getattr(thing, "__func__", thing).__doc__ or ""
    first, _, rest = text.partition("\n")
    return (rest if re.match(rf"(\w+\.)*{name}\(", first) else text).strip()


def test_everything_has_a_docstring():
    bare = []
    for name in cyevent.__all__:
        thing = getattr(cyevent, name)
        if isinstance(thing, int):
            continue
        if not own_docstring(thing, name):
            bare.append(name)
        if inspect.isclass(thing):
            for cls in thing.__mro__:
                if cls.__module__.startswith("cyevent."):
                    bare += bare_members(cls)
    assert sorted(set(bare)) == []


def bare_members(cls):
    return [
        f"{cls.__name__}.{member}"
        for member, value in vars(cls).items()
        if not UNDOCUMENTED.fullmatch(member)
        and not own_docstring(value, member)
        # A plain attribute cannot have one, and is described with the class.
        and not re.search(rf"^ *{member}: ", cls.__doc__, re.MULTILINE)
    ]


def missing_modules():
    return [
        name for name in ("sphinx", "myst_parser", "furo") if importlib.util.find_spec(name) is None
    ]


@pytest.mark.skipif(missing_modules() != [], reason="the site needs the extra [docs]")
def test_the_site(package_env, tmp_path):
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", tmp_path / "doctrees", ROOT / "docs", tmp_path / "site"],
        cwd=tmp_path,
        env=package_env,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert (done.returncode, done.stderr) == (0, "")
    inventory = (tmp_path / "site" / "objects.inv").read_bytes().split(b"\n", 4)[4]
    entries = zlib.decompress(inventory).decode().splitlines()
    names = {line.split()[0] for line in entries if " py:" in line}
    assert {f"cyevent.{name}" for name in public_names()} <= names
    assert {"cyevent.EventBase.dispatch", "cyevent.SSLBufferEvent.filter"} <= names
