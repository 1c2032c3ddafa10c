"""Writes the C headers of the package, cyevent/include/cyevent/*.h, from its .pxd doors.

The doors are parsed with Cython's own parser, so that the headers cannot differ from what is compiled.

Facts:
- A Cython module offers its functions as capsules in __pyx_capi__, so there is nothing to link with: a C
  program finds the addresses at run time.
- C code takes addresses, also in static initializers, and libevent's users look for macros with #ifdef.

So each function is an inline function that calls through a table. The table is a weak symbol: the files of one
program or library share it, and one call of import_cyevent() fills it for all of them. A call costs an indirect
jump, as it does through a shared library's own table. What libevent has as macros are macros here.
"""

import re
import runpy
import sys
import textwrap
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
SYSTEM_STRUCTS = ("addrinfo", "iovec", "sockaddr", "sockaddr_storage", "timespec", "timeval", "tm")

# Constants that libevent's users look for with #ifdef: where they are 0 the C headers leave them undefined.
DEFINED_OR_NOT = (
    "EVTHREAD_USE_PTHREADS_IMPLEMENTED",
    "EVTHREAD_USE_WINDOWS_THREADS_IMPLEMENTED",
)

# Functions with variable arguments, which cannot be handed on, and those that take them as a list.
LISTS = {"evbuffer_add_printf": "evbuffer_add_vprintf"}

# A name of libevent's own in spite of its underscore.
PUBLIC_ANYHOW = ("EVBUFFER_IOVEC_IS_NATIVE_",)

# Constants that doors share among themselves.
INTERNAL_CONSTANTS = ("EVBUFFER_CB_DEAD", "EVBUFFER_MAX")

# C++'s own words among those that are names in C.
CPLUSPLUS_WORDS = (
    "class",
    "delete",
    "export",
    "new",
    "operator",
    "private",
    "public",
    "template",
    "this",
)

# libevent's header names; each includes the one that holds everything.
PORTING_HEADERS = (
    "buffer",
    "bufferevent",
    "bufferevent_ssl",
    "event",
    "event_struct",
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
 * Call import_cyevent() once in the program or shared library, with the GIL held, before anything else: 0, or
 * -1 with a Python exception set, and then nothing else may be called. The functions themselves need no GIL,
 * and never take it.
 */
#ifndef CYEVENT_H
#define CYEVENT_H

#include <Python.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>
typedef intptr_t evutil_socket_t;
typedef int ev_socklen_t;
#ifndef CYEVENT_HAVE_IOVEC
#define CYEVENT_HAVE_IOVEC
struct iovec { size_t iov_len; void *iov_base; };
#endif
#if defined(_MSC_VER) && !defined(CYEVENT_HAVE_SSIZE_T)
#define CYEVENT_HAVE_SSIZE_T
typedef intptr_t ssize_t;
#endif
#else
#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
typedef int evutil_socket_t;
typedef socklen_t ev_socklen_t;
#endif

#if defined(__GNUC__) || defined(__clang__)
#define CYEVENT_UNUSED __attribute__((unused))
#define CYEVENT_FORMAT(text, first) __attribute__((__format__(__printf__, text, first)))
#else
#define CYEVENT_UNUSED
#define CYEVENT_FORMAT(text, first)
#endif
/* One definition for all files that are linked together, and invisible to others. */
#ifdef _WIN32
#define CYEVENT_SHARED __declspec(selectany)
#else
#define CYEVENT_SHARED __attribute__((weak, visibility("hidden")))
#endif

#define CYEVENT_VERSION "%(__version__)s"
#define CYEVENT_C_API_VERSION %(C_API_VERSION)d
#define LIBEVENT_VERSION "2.2.1-cyevent"
#define LIBEVENT_VERSION_NUMBER 0x02020100

#define event_get_signal(ev) ((int)event_get_fd(ev))
#define evuser_new(base, callback, arg) event_new((base), -1, 0, (callback), (arg))
#define evuser_del(ev) event_del(ev)
#define evuser_pending(ev, tv) event_pending((ev), 0, (tv))
#define evuser_initialized(ev) event_initialized(ev)
#define evuser_trigger(ev) event_active((ev), 0, 0)
"""

OPENING = """\
#ifdef __cplusplus
extern "C" {
#endif
"""

TABLE_BEGIN = """\
struct cyevent_functions {
"""

TABLE_END = """\
};
#ifdef _WIN32
CYEVENT_SHARED struct cyevent_functions cyevent_functions_ = {0};
#else
CYEVENT_SHARED struct cyevent_functions cyevent_functions_;
#endif

"""

LOADER = """\
struct cyevent_import_entry { const char *module, *name; void *slot; };

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

/* Fills the table; calling it again does no harm. */
CYEVENT_UNUSED static int import_cyevent(void) {
    struct cyevent_functions found;
    const struct cyevent_import_entry entries[] = {
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
    if (found.event_get_struct_event_size() != sizeof(struct event)) {
        PyErr_SetString(PyExc_ImportError, "struct event is not that of the installed cyevent");
        return -1;
    }
    cyevent_functions_ = found;
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
        self.verbatim = []
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
        elif isinstance(node, Nodes.CDefExternNode) and gives_public_names(node):
            # C text, which is needed as it stands.
            self.verbatim.append(textwrap.dedent(node.verbatim_include).strip("\n") + "\n")
        elif isinstance(node, Nodes.CDefExternNode):
            self.structs += [found for found in statements(node) if is_opaque_struct(found)]


def gives_public_names(extern):
    """Whether a block of C text is where public functions or constants come from."""
    if not extern.verbatim_include:
        return False
    variables = [node for node in statements(extern) if isinstance(node, Nodes.CVarDefNode)]
    names = [function_name(declarator) for node in variables for declarator in node.declarators]
    return any(is_public(name) and name not in INTERNAL_CONSTANTS for name in names)


def is_opaque_struct(node):
    """Whether a struct is another library's, or a later room's, of which only pointers are passed."""
    is_struct = isinstance(node, Nodes.CStructOrUnionDefNode) and not node.typedef_flag
    return is_struct and not node.attributes


def is_public(name):
    return name.startswith((*PREFIXES, *PUBLIC_ENUM)) and not name.endswith("_")


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


def c_name(name):
    """A parameter's name, if need be another: C++ reserves some that C does not."""
    return f"{name}_" if name in CPLUSPLUS_WORDS else name


def is_struct_alias(node):
    """Whether a ctypedef gives a system's struct a second name."""
    return (
        isinstance(node.declarator, Nodes.CNameDeclaratorNode)
        and str(getattr(node.base_type, "name", "")) in SYSTEM_STRUCTS
    )


def split_function(declarator):
    """The stars of a function's result, and the function."""
    stars = ""
    while isinstance(declarator, Nodes.CPtrDeclaratorNode):
        stars += "*"
        declarator = declarator.base
    return stars, declarator


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
            return c_name(str(node.name)) if name is None else name
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
        stars, function = split_function(declarator)
        name = str(function.base.name)
        return f"{self.base_type(base)} {stars}(*{name})({self.arguments(function)})"

    def wrapper(self, base, declarator):
        """The function that calls through the table."""
        stars, function = split_function(declarator)
        name = str(function.base.name)
        result = f"{self.base_type(base)} {stars}".rstrip(" ")
        space = "" if stars else " "
        names = [c_name(function_name(argument.declarator)) for argument in function.args]
        if "" in names:
            raise TypeError(f"{name} has a parameter without a name")
        head = (
            f"CYEVENT_UNUSED static inline {result}{space}{name}({self.arguments(function)}) {{\n"
        )
        if function.has_varargs:
            return self.variadic(name, names, head)
        call = f"cyevent_functions_.{name}({', '.join(names)});"
        body = call if result == "void" else f"return {call}"
        return f"{head}    {body}\n}}\n"

    @staticmethod
    def variadic(name, names, head):
        """A function like printf() that calls the one with a list. The format is the last parameter."""
        n = len(names)
        return (
            f"CYEVENT_FORMAT({n}, {n + 1}) {head}"
            f"    va_list arguments_;\n    int result_;\n    va_start(arguments_, {names[-1]});\n"
            f"    result_ = cyevent_functions_.{LISTS[name]}({', '.join(names)}, arguments_);\n"
            f"    va_end(arguments_);\n    return result_;\n}}\n"
        )

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
    """An enum that has a name, as libevent has it. One without stands for macros."""
    if node.name is None:
        return macros(node)
    items, renumbered = [], False
    for item in node.items:
        name = str(item.name)
        if item.value is None and renumbered:
            raise TypeError(f"{name} counts on from a constant that the C headers leave out")
        renumbered = is_internal_constant(name)
        if not renumbered:
            items.append(f"    {name}" + (f" = {constant(item.value)}" if item.value else ""))
    return f"enum {node.name} {{\n" + ",\n".join(items) + "\n};\n" if items else ""


def macros(node):
    lines = []
    for item in node.items:
        if item.value is None:
            raise TypeError(f"{item.name} is a macro in C and needs a value")
        if not is_internal_constant(str(item.name)):
            lines.append(f"#define {item.name} {constant(item.value)}\n")
    return "".join(lines)


PUBLIC_ENUM = ("EV", "BEV", "LEV", "BUFFEREVENT_")
INTERNAL_ENUM = ("BEV_SUSPEND_", "EVENT_DEL_", "EVLIST_", "EVWATCH_", "EV_CLOSURE_")


def is_internal_constant(name):
    if name in PUBLIC_ANYHOW:
        return False
    if name.startswith(INTERNAL_ENUM) or not name.startswith(PUBLIC_ENUM):
        return True
    return name.endswith("_") or name in INTERNAL_CONSTANTS


def is_public_enum(node):
    return not all(is_internal_constant(str(item.name)) for item in node.items)


def module_is_internal(module):
    return module.startswith(("cyevent.backends.", "cyevent.completion."))


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
    verbatim = [text for door in doors for text in door.verbatim]
    typedefs, pointers, functions, entries = [], [], [], []
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
            functions.append(writer.wrapper(node.base_type, declarator))
            if name in LISTS:
                continue
            pointers.append(f"    {writer.pointer(node.base_type, declarator)};\n")
            entries.append(f'        {{"{door.module}", "{name}", &found.{name}}},')
    declarations = "".join(
        [*typedefs, "\n", *structs, "\n", TABLE_BEGIN, *pointers, TABLE_END, *functions]
    )
    used = set(re.findall(r"\b(?:struct|union) \w+", declarations))
    opaque = [f"{kind} {name}" for name, kind in sorted(writer.tags.items())]
    forward = "".join(f"{tag};\n" for tag in opaque if tag in used)
    loader = LOADER % "\n".join(entries)
    constants = "".join(enums) + "".join(
        f"#if !{name}\n#undef {name}\n#endif\n" for name in DEFINED_OR_NOT
    )
    return "\n".join(
        [PROLOGUE % VERSIONS, *verbatim, OPENING, constants, forward + declarations, loader]
    )


def main():
    doors = [
        Door(path)
        for path in sorted(PACKAGE.rglob("*.pxd"))
        if path.name not in ("__init__.pxd", "sys.pxd", "interpreter.pxd", "reactor.pxd")
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
