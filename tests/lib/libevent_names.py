"""libevent's public names, and the table in docs/libevent.md that says what they are here.

cython/libevent-names.tsv holds the names of libevent 2.2's headers. A function has its type as C writes it, a
type its C spelling, and a constant its value, unless that depends on the system. A function that is a macro in
libevent has the type of what the macro expands to.
"""

import re
from pathlib import Path
from typing import NamedTuple

import cyevent

ROOT = Path(__file__).resolve().parents[2]

# The headers of which every name is there, or has its reason in the table. The others may have gaps.
COMPLETE = (
    "event.h",
    "watch.h",
    "thread.h",
    "util.h",
    "buffer.h",
    "bufferevent.h",
    "bufferevent_ssl.h",
    "listener.h",
)

# Types that signatures have and that are not cyevent's.
SYSTEM_TYPES = ("sockaddr", "timeval", "tm")

ABSENT = "-"
SAME = "same"


class Name(NamedTuple):
    header: str
    kind: str  # function, constant or type
    name: str
    meaning: str

    def declare(self, variable):
        """The C declaration of a pointer to the function, called `variable`."""
        result, _, arguments = self.meaning.partition("(")
        return f"{result}(*{variable})({arguments}"


class Row(NamedTuple):
    header: str
    name: str
    cython: str
    python: str
    note: str


def read_names():
    lines = (ROOT / "tests" / "cython" / "libevent-names.tsv").read_text().splitlines()
    return [Name(*line.split("\t")) for line in lines[1:]]


def read_table():
    """Every row of the tables in docs/libevent.md. Each table stands under its header's name."""
    rows, header = [], None
    for line in (ROOT / "docs" / "libevent.md").read_text().splitlines():
        title = re.fullmatch(r"### (\w+\.h)", line)
        if title:
            header = title[1]
        elif header and line.startswith("| `"):
            name, cython, python, note = (cell.strip() for cell in line.strip("|").split("|"))
            rows.append(Row(header, name.strip("`"), cython, python.strip("`"), note))
    return rows


def door_names():
    """What `from cyevent cimport ...` offers, as the package's front door says it."""
    text = (Path(cyevent.__file__).parent / "__init__.pxd").read_text()
    text = re.sub(r"#.*", "", text)
    pattern = r"^from [\w.]+ cimport (?:\(([^)]*)\)|(.+))$"
    found = re.findall(pattern, text, flags=re.MULTILINE)
    return {name.strip() for pair in found for name in "".join(pair).split(",")} - {""}


def names_to_check():
    """The names that can be cimported. A function waits for the types that it takes."""
    door = door_names()
    known = {*door, *SYSTEM_TYPES}
    return [
        name
        for name in read_names()
        if name.name in door
        and known.issuperset(re.findall(r"(?:struct|enum) (\w+)", name.meaning))
    ]
