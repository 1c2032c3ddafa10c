"""Writes the C headers of the package, cyevent/include/cyevent/*.h, from its .pxd doors.

The doors are parsed with Cython's own parser, so that the headers cannot differ from what is compiled. A
function is a pointer that import_cyevent() fills from the modules' __pyx_capi__.
"""

import re
import runpy
import sys
from pathlib import Path

from Cython.Compiler import ExprNodes, Nodes
from Cython.Compiler.TreeFragment import parse_from_strings

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "cyevent"
TARGET = PACKAGE / "include" / "cyevent"
VERSIONS = runpy.run_path(str(PACKAGE / "_version.py"))

# The names that are libevent's; what ends in an underscore is internal.
PREFIXES = (
    "bufferevent_",
    "ev_token_bucket_",
    "evbuffer_",
    "evconnlistener_",
    "event_",
    "evsignal_",
    "evthread_",
    "evtimer_",
    "evutil_",
    "evwatch_",
    "libevent_",
)

# Structs that C code may look into or allocate; all others stay opaque.
COMPLETE = {
    "event",
    "event_callback",
    "event_callback_target",
    "ev_token_bucket_cfg",
    "evbuffer_cb_info",
    "evbuffer_iovec",
    "evbuffer_ptr",
    "evbuffer_ptr_internal",
    "evthread_condition_callbacks",
    "evthread_lock_callbacks",
    "evwatch_check_cb_info",
    "evwatch_prepare_cb_info",
    "timer_links",
    "timer_position",
}

# Structs of the system's headers.
SYSTEM_STRUCTS = ("addrinfo", "iovec", "sockaddr", "sockaddr_storage", "timespec", "timeval")

# Constants that doors share among themselves.
INTERNAL_CONSTANTS = ("EVBUFFER_CB_DEAD", "EVBUFFER_MAX")

# libevent's header names; each includes the one that holds everything.
PORTING_HEADERS = (
    "buffer",
    "bufferevent",
    "bufferevent_ssl",
    "event",
    "listener",
    "thread",
    "util",
    "watch",
)

PROLOGUE = """\
/* The C API of cyevent: libevent's names over the loaded Python package.
 *
 * Generated from the package's .pxd files; do not edit.
 *
 * Call import_cyevent() once in each file that uses the functions, with the GIL held: 0, or -1 with a Python
 * exception set. The functions themselves need no GIL, and never take it.
 */
#ifndef CYEVENT_H
#define CYEVENT_H

#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>
typedef intptr_t evutil_socket_t;
typedef int ev_socklen_t;
#else
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
typedef int evutil_socket_t;
typedef socklen_t ev_socklen_t;
#endif

#if defined(__GNUC__) || defined(__clang__)
#define CYEVENT_UNUSED __attribute__((unused))
#else
#define CYEVENT_UNUSED
#endif

#define CYEVENT_VERSION "%(__version__)s"
#define CYEVENT_C_API_VERSION %(C_API_VERSION)d

#ifdef __cplusplus
extern "C" {
#endif
"""

LOADER = """\
typedef struct { const char *module, *name; void *slot; } cyevent_import_entry;

/* The installed package has to be of the headers' kind: its structs are laid out as they are here. */
CYEVENT_UNUSED static int cyevent_check_version(void) {
    PyObject *module = PyImport_ImportModule("cyevent._version");
    PyObject *number;
    long version;
    if (module == NULL)
        return -1;
    number = PyObject_GetAttrString(module, "C_API_VERSION");
    Py_DECREF(module);
    if (number == NULL)
        return -1;
    version = PyLong_AsLong(number);
    Py_DECREF(number);
    if (version == -1 && PyErr_Occurred())
        return -1;
    if (version != CYEVENT_C_API_VERSION) {
        PyErr_Format(PyExc_ImportError, "compiled for version %%d of cyevent's C API, %%ld is installed",
                     CYEVENT_C_API_VERSION, version);
        return -1;
    }
    return 0;
}

/* Fills the function pointers of this file. */
CYEVENT_UNUSED static int import_cyevent(void) {
    static const cyevent_import_entry entries[] = {
%s
    };
    size_t i;
    if (cyevent_check_version() < 0)
        return -1;
    for (i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
        PyObject *module = PyImport_ImportModule(entries[i].module);
        PyObject *table, *capsule;
        void *function = NULL;
        if (module == NULL)
            return -1;
        table = PyObject_GetAttrString(module, "__pyx_capi__");
        Py_DECREF(module);
        if (table == NULL)
            return -1;
        capsule = PyDict_GetItemString(table, entries[i].name);
        if (capsule != NULL)
            function = PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule));
        else
            PyErr_Format(PyExc_ImportError, "%%s has no C function %%s", entries[i].module,
                         entries[i].name);
        Py_DECREF(table);
        if (function == NULL)
            return -1;
        memcpy(entries[i].slot, &function, sizeof(function));
    }
    if (event_get_struct_event_size() != sizeof(struct event)) {
        PyErr_SetString(PyExc_ImportError, "struct event is not that of the installed cyevent");
        return -1;
    }
    return 0;
}

#ifdef __cplusplus
}
#endif
#endif
"""

# The name changed between Cython 3.1 and 3.3.
QUALIFIED = getattr(Nodes, "CQualifierTypeNode", None) or Nodes.CConstOrVolatileTypeNode


class Door:
    """What one .pxd declares."""

    def __init__(self, path):
        self.module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        self.enums = []
        self.typedefs = []
        self.structs = []
        self.functions = []
        tree = parse_from_strings(
            self.module.replace(".", "_"), path.read_text(), level="module_pxd"
        )
        for statement in statements(tree):
            self.take(statement)

    def take(self, node):
        if isinstance(node, Nodes.CEnumDefNode):
            self.enums.append(node)
        elif isinstance(node, Nodes.CTypeDefNode):
            self.typedefs.append(node)
        elif isinstance(node, Nodes.CStructOrUnionDefNode):
            self.structs.append(node)
        elif isinstance(node, Nodes.CVarDefNode):
            for declarator in node.declarators:
                if is_function(declarator):
                    self.functions.append((function_name(declarator), node, declarator))


def statements(tree):
    body = tree.body if hasattr(tree, "body") else tree
    return body.stats if isinstance(body, Nodes.StatListNode) else [body]


def is_function(declarator):
    while isinstance(declarator, Nodes.CPtrDeclaratorNode):
        declarator = declarator.base
    return isinstance(declarator, Nodes.CFuncDeclaratorNode) and isinstance(
        declarator.base, Nodes.CNameDeclaratorNode
    )


def is_nogil(declarator):
    while isinstance(declarator, Nodes.CPtrDeclaratorNode):
        declarator = declarator.base
    return bool(declarator.nogil)


def function_name(declarator):
    while not isinstance(declarator, Nodes.CNameDeclaratorNode):
        declarator = declarator.base
    return str(declarator.name)


def is_struct_alias(node):
    """Whether a ctypedef gives a system's struct a second name."""
    return (
        isinstance(node.declarator, Nodes.CNameDeclaratorNode)
        and str(getattr(node.base_type, "name", "")) in SYSTEM_STRUCTS
    )


class Writer:
    """Turns declarations into C."""

    def __init__(self, doors):
        self.tags = {}
        self.aliases = {}
        for door in doors:
            for node in door.typedefs:
                if is_struct_alias(node):
                    self.aliases[str(node.declarator.name)] = str(node.base_type.name)
            for node in door.structs:
                self.tags[str(node.name)] = node.kind
        self.enum_types = {
            str(node.name) for door in doors for node in door.enums if node.name is not None
        }

    def base_type(self, node):
        if isinstance(node, QUALIFIED):
            return "const " + self.base_type(node.base_type)
        name = str(node.name)
        if name in self.tags:
            return f"{self.tags[name]} {name}"
        if name in SYSTEM_STRUCTS or name in self.aliases:
            return f"struct {name}"
        if name in self.enum_types:
            return f"enum {name}"
        if name == "bint":
            return "int"
        words = []
        if node.is_basic_c_type:
            if node.signed == 0 and not name.endswith("size_t"):
                words.append("unsigned")
            if name == "int" and node.longness:
                words += ["long"] * node.longness
            elif name == "int" and node.longness == -1:
                words.append("short")
            else:
                words.append(name)
            if node.longness == -1 and name == "int":
                words = [word for word in words if word != "int"] or ["short"]
        else:
            words.append(name)
        return " ".join(words)

    def declare(self, base, declarator, name=None):
        """`base` and a declarator as a C declaration, of `name` if it is another."""
        return f"{self.base_type(base)} {self.declarator(declarator, name)}".strip()

    def declarator(self, node, name=None):
        if isinstance(node, Nodes.CNameDeclaratorNode):
            return str(node.name) if name is None else name
        if isinstance(node, Nodes.CPtrDeclaratorNode):
            return "*" + self.declarator(node.base, name)
        if isinstance(node, Nodes.CArrayDeclaratorNode):
            size = "" if node.dimension is None else str(node.dimension.value)
            return f"{self.declarator(node.base, name)}[{size}]"
        if isinstance(node, Nodes.CFuncDeclaratorNode):
            inner = self.declarator(node.base, name)
            if isinstance(node.base, Nodes.CPtrDeclaratorNode):
                inner = f"({inner})"
            return f"{inner}({self.arguments(node)})"
        raise TypeError(f"a declarator that C headers cannot have: {node!r}")

    def arguments(self, function):
        words = [
            self.declare(argument.base_type, argument.declarator) for argument in function.args
        ]
        if function.has_varargs:
            words.append("...")
        return ", ".join(words) or "void"

    def pointer(self, base, declarator):
        """A function's declaration as that of a pointer with its name."""
        stars = ""
        while isinstance(declarator, Nodes.CPtrDeclaratorNode):
            stars += "*"
            declarator = declarator.base
        name = str(declarator.base.name)
        return f"{self.base_type(base)} {stars}(*{name})({self.arguments(declarator)})"

    def struct(self, node):
        lines = [f"{node.kind} {node.name} {{"]
        for attribute in node.attributes:
            for declarator in attribute.declarators:
                lines.append(f"    {self.declare(attribute.base_type, declarator)};")
        lines.append("};")
        return "\n".join(lines)


def constant(node):
    if isinstance(node, ExprNodes.IntNode):
        return str(node.value)
    if isinstance(node, ExprNodes.UnaryMinusNode):
        return f"-{constant(node.operand)}"
    if isinstance(node, ExprNodes.NumBinopNode):
        return f"({constant(node.operand1)} {node.operator} {constant(node.operand2)})"
    if isinstance(node, ExprNodes.NameNode):
        return str(node.name)
    raise TypeError(f"an enum value that C headers cannot have: {node!r}")


def enum(node):
    items, defines, renumbered = [], [], False
    for item in node.items:
        name = str(item.name)
        if item.value is None and renumbered:
            raise TypeError(f"{name} counts on from a constant that the C headers leave out")
        if is_internal_constant(name):
            renumbered = True
        elif isinstance(item.value, ExprNodes.IntNode) and int(item.value.value, 0) > INT_MAX:
            # C before C23 has no enumerators beyond int.
            defines.append(f"#define {name} {constant(item.value)}\n")
            renumbered = True
        else:
            items.append(f"    {name}" + (f" = {constant(item.value)}" if item.value else ""))
            renumbered = False
    head = f"enum {node.name} {{" if node.name else "enum {"
    body = head + "\n" + ",\n".join(items) + "\n};\n" if items else ""
    return body + "".join(defines)


INT_MAX = 0x7FFFFFFF
PUBLIC_ENUM = ("EV", "BEV", "LEV", "BUFFEREVENT_")
INTERNAL_ENUM = ("BEV_SUSPEND_", "EVENT_DEL_", "EVLIST_", "EVWATCH_", "EV_CLOSURE_")


def is_internal_constant(name):
    return name.endswith("_") or name in INTERNAL_CONSTANTS


def is_public_enum(node):
    names = [str(item.name) for item in node.items]
    if any(name.startswith(INTERNAL_ENUM) for name in names):
        return False
    return all(name.startswith(PUBLIC_ENUM) for name in names)


def module_is_internal(module):
    return module.startswith("cyevent.backends.")


def in_order(structs):
    """Structs with those that they contain before them."""
    by_name = {str(node.name): node for node in structs}
    done, result = set(), []

    def visit(node):
        name = str(node.name)
        if name in done:
            return
        done.add(name)
        for attribute in node.attributes:
            base = attribute.base_type
            held = by_name.get(str(getattr(base, "name", "")))
            by_value = not isinstance(attribute.declarators[0], Nodes.CPtrDeclaratorNode)
            if held is not None and by_value:
                visit(held)
        result.append(node)

    for node in structs:
        visit(node)
    return result


def header(doors):
    writer = Writer(doors)
    enums = [enum(node) for door in doors for node in door.enums if is_public_enum(node)]
    typedefs, functions, entries = [], [], []
    for door in doors:
        for node in door.typedefs:
            if is_struct_alias(node):
                # As libevent has it: code says `struct evbuffer_iovec`.
                typedefs.append(f"#define {node.declarator.name} {node.base_type.name}\n")
            elif not module_is_internal(door.module):
                typedefs.append(f"typedef {writer.declare(node.base_type, node.declarator)};\n")
    complete = [node for door in doors for node in door.structs if str(node.name) in COMPLETE]
    structs = [writer.struct(node) + "\n" for node in in_order(complete)]
    for door in doors:
        for name, node, declarator in door.functions:
            if not name.startswith(PREFIXES) or name.endswith("_") or not is_nogil(declarator):
                continue
            pointer = writer.pointer(node.base_type, declarator)
            functions.append(f"CYEVENT_UNUSED static {pointer};\n")
            entries.append(f'        {{"{door.module}", "{name}", (void *)&{name}}},')
    declarations = "".join([*typedefs, "\n", *structs, "\n", *functions])
    used = set(re.findall(r"\b(?:struct|union) \w+", declarations))
    opaque = [f"{kind} {name}" for name, kind in sorted(writer.tags.items())]
    forward = "".join(f"{tag};\n" for tag in opaque if tag in used)
    loader = LOADER % "\n".join(entries)
    return "\n".join([PROLOGUE % VERSIONS, "".join(enums), forward + declarations, loader])


def main():
    doors = [
        Door(path)
        for path in sorted(PACKAGE.rglob("*.pxd"))
        if path.name not in ("__init__.pxd", "sys.pxd", "reactor.pxd")
        and path.with_suffix(".pyx").exists() | (path.name in ("types.pxd", "vtable.pxd"))
    ]
    TARGET.mkdir(parents=True, exist_ok=True)
    write(TARGET / "cyevent.h", header(doors))
    for name in PORTING_HEADERS:
        write(
            TARGET / f"{name}.h",
            f"/* For code written for libevent's event2/{name}.h. */\n#include <cyevent/cyevent.h>\n",
        )


def write(path, text):
    """Leaves a file alone that is right already, so that nothing is rebuilt for it."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
