"""libevent's names: that docs/libevent.md tells the truth about them, and that what can be cimported has
libevent's signatures and values."""

import ast
import collections
import importlib
import re
import sys
from pathlib import Path

import pytest
from libevent_names import (
    ABSENT,
    COMPLETE,
    SAME,
    door_names,
    names_to_check,
    read_names,
    read_table,
)

import cyevent

NAMES = read_names()
TABLE = read_table()
DOOR = door_names()
COUNTS = collections.Counter((row.header, row.name) for row in TABLE)

# A Cython module gets exactly libevent's types, so a missing `const` is an error too.
STRICT = (
    "-Werror=incompatible-pointer-types",
    "-Werror=discarded-qualifiers",
    "-Werror=int-conversion",
)


def complete_names():
    return [name for name in NAMES if name.header in COMPLETE]


@pytest.mark.parametrize("name", complete_names(), ids=lambda name: name.name)
def test_a_name_has_one_row(name):
    assert COUNTS[name.header, name.name] == 1


def test_the_table_has_libevents_names_alone():
    known = {(name.header, name.name) for name in NAMES}
    assert [key for key, count in COUNTS.items() if key not in known or count > 1] == []


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_the_cython_spelling_is_cimportable(row):
    if row.cython == ABSENT:
        assert row.note, "a name that is absent has no reason"
        assert row.name not in DOOR, "the table says it is absent"
    else:
        assert row.cython == SAME
        if row.name not in DOOR:
            pytest.fail(f"cyevent/__init__.pxd does not have {row.name}", pytrace=False)


# --- the Python spelling --------------------------------------------------------------------------


def keywords_of(class_name):
    """The names of a class's constructor arguments, from the stubs."""
    for stub in sorted(Path(cyevent.__file__).parent.rglob("*.pyi")):
        for node in ast.parse(stub.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name == class_name:
                for method in node.body:
                    if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                        arguments = method.args
                        return {one.arg for one in (*arguments.args, *arguments.kwonlyargs)}
    raise AssertionError(f"no stub has the constructor of {class_name}")


def resolve(path):
    """The object that a dotted path stands for: one of cyevent's, of a standard module, or a builtin."""
    first, *rest = path.split(".")
    if hasattr(cyevent, first):
        found = getattr(cyevent, first)
    elif first in sys.stdlib_module_names:
        while rest and f"{first}.{rest[0]}" in ("email.utils",):
            first = f"{first}.{rest.pop(0)}"
        found = importlib.import_module(first)
    else:
        found = getattr(importlib.import_module("builtins"), first)
    for part in rest:
        found = getattr(found, part)
    return found


@pytest.mark.parametrize(
    "row", [row for row in TABLE if row.python != ABSENT], ids=lambda row: row.name
)
def test_the_python_spelling_resolves(row):
    path, keywords = re.fullmatch(r"([\w.]+)(?:\(([\w, ]+)\))?", row.python).groups()
    resolve(path)
    if keywords:
        assert set(keywords.split(", ")) <= keywords_of(path)


def test_python_constants_have_the_values():
    values = {name.name: name.meaning for name in NAMES if name.kind == "constant"}
    differing = []
    for row in TABLE:
        # What depends on the system has no value in the list.
        if not values.get(row.name) or not re.fullmatch(r"[A-Z_]+", row.python):
            continue
        if getattr(cyevent, row.python, None) not in (None, int(values[row.name], 0)):
            differing.append(row)
    assert differing == []


# --- the Cython spelling, compiled ----------------------------------------------------------------


def in_cython(declaration):
    """A C declaration of a function pointer, in Cython's words."""
    text = re.sub(r"\b(struct|enum) ", "", declaration).replace("(void)", "()")
    text = re.sub(r"(\(\*\)\([^()]*\))", r"\1 noexcept nogil", text)
    return text + " noexcept nogil"


def module_text(names):
    lines = [
        "from libc.stdint cimport int64_t, uint32_t, uint64_t",
        "from libc.stdio cimport FILE",
        "from libc.time cimport tm",
        "from cyevent cimport timeval, sockaddr",
    ]
    lines += [f"from cyevent cimport {name.name}" for name in names]
    # Structs of others, of which there are pointers here.
    mentioned = {
        word for name in names for word in re.findall(r"(?<=struct )\w+|va_list", name.meaning)
    }
    foreign = mentioned & DOOR - {name.name for name in names}
    lines += [f"from cyevent cimport {word}" for word in sorted(foreign)]
    addresses, constants = [], []
    for name in names:
        if name.kind == "function":
            kind, variable = f"type_of_{name.name}", f"pointer_to_{name.name}"
            lines.append(f"ctypedef {in_cython(name.declare(kind))}")
            lines.append(f"cdef {kind} {variable} = {name.name}")
            addresses.append(f'"{name.name}": <size_t><void *>{variable},')
        elif name.kind == "constant":
            constants.append(f'"{name.name}": {name.name},')
        else:
            lines.append(f"cdef {name.name} *pointer_to_{name.name} = NULL")
    return "\n".join([*lines, "ADDRESSES = {", *addresses, "}", "VALUES = {", *constants, "}", ""])


@pytest.fixture(scope="module")
def everything(compile_cython):
    """One module that cimports each name the package has, as libevent types it."""
    text = module_text(names_to_check())
    return compile_cython({"libevent_names_all.pyx": text}, STRICT)["libevent_names_all"]


def test_functions_have_libevents_types(everything):
    # That it compiles is what shows the types.
    wanted = [name.name for name in names_to_check() if name.kind == "function"]
    assert sorted(everything.ADDRESSES) == sorted(wanted)
    assert [name for name, address in everything.ADDRESSES.items() if address == 0] == []


def test_constants_have_libevents_values(everything):
    wrong = {}
    for name in NAMES:
        if name.kind != "constant" or name.name not in everything.VALUES or not name.meaning:
            continue
        value = everything.VALUES[name.name]
        if value != int(name.meaning, 0):
            wrong[name.name] = value
    assert wrong == {}


def test_limits_are_the_systems(everything):
    values = everything.VALUES
    for name, value in {
        "EV_SIZE_MAX": 2 * sys.maxsize + 1,
        "EV_SSIZE_MAX": sys.maxsize,
        "EV_SSIZE_MIN": -sys.maxsize - 1,
        "EV_RATE_LIMIT_MAX": sys.maxsize,
    }.items():
        if name in values:
            assert values[name] == value, name


def test_a_wrong_type_would_be_noticed(compile_cython):
    """The check's own check: `const` and integer types do make a difference."""
    wrong = {
        "event_add": "int (struct event *, struct timeval *)",
        "event_get_events": "int (const struct event *)",
    }
    for name in [name for name in NAMES if name.name in wrong]:
        text = module_text([name._replace(meaning=wrong[name.name])])
        with pytest.raises(pytest.fail.Exception, match=r"(?i)pointer|type"):
            compile_cython({"libevent_names_wrong.pyx": text}, STRICT)
