"""The C program of README.md, compiled and run as it stands there."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_c_program(toolchain, compiler_for, run_program, tmp_path):
    (program,) = re.findall(r"^```c\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    compiler = compiler_for("gcc", "clang")
    source = tmp_path / "readme.c"
    source.write_text(program)
    # The example's callback does without two of its arguments.
    compiled = toolchain.compile(compiler, source, "-Wno-unused-parameter")
    done = run_program(toolchain.link(compiler, [compiled], tmp_path / "readme"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
