"""Every block of code in README.md and docs/ is run as it stands there; doc_blocks.py says how."""

import doctest
import re
import shutil
import subprocess
import sys
from pathlib import Path

import doc_drivers
import pytest
from doc_blocks import LANGUAGES, PROSE, ROOT, all_blocks

BLOCKS = all_blocks()
LEFT_OUT = [block for block in BLOCKS if "left out" in block.marks]
MOST_LEFT_OUT = 8
PATIENCE = 100


@pytest.fixture
def run_block(doc_env, tmp_path, request):
    """Runs a command for a block, with the other end that it asks for; returns stdout and stderr."""
    runs = []

    def run(block, make_command):
        env = dict(doc_env)
        needs = block.marks.get("needs", "").split()
        for name in needs:
            if name != "certificate" and shutil.which(name, path=env["PATH"]) is None:
                pytest.skip(f"{name} is not installed")
        if "certificate" in needs:
            pytest.importorskip("OpenSSL", reason="TLS needs pyOpenSSL")
            good, authority = request.getfixturevalue("certificate")
            shutil.copy(good.cert_file, tmp_path / "chain.pem")
            shutil.copy(good.key_file, tmp_path / "key.pem")
            env["SSL_CERT_FILE"] = authority
        if "with" not in block.marks:
            done = subprocess.run(
                make_command(block.program),
                cwd=tmp_path,
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout, done.stderr
        run = doc_drivers.Run(block.program, tmp_path, env)
        runs.append(run)
        run.command = make_command(run.text)
        return getattr(doc_drivers, block.marks["with"])(run)

    yield run
    for run in runs:
        run.kill()


@pytest.fixture
def files(tmp_path):
    def write(block):
        for name, text in block.files.items():
            (tmp_path / name).write_text(text)

    return write


def check(block, output, errors):
    if block.output is not None:
        same = doctest.OutputChecker().check_output(block.output, output, doctest.ELLIPSIS)
        assert same, f"printed:\n{output}\ninstead of:\n{block.output}"
    if "stderr" not in block.marks:
        assert errors == ""


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_block(block, files, request):
    if "left out" in block.marks:
        pytest.skip(block.marks["left out"])
    files(block)
    if block.language in ("python", "cython") and block.is_built_by(BLOCKS):
        return
    request.getfixturevalue(f"run_{block.language.replace('++', 'pp')}")(block)


@pytest.fixture
def run_python(run_block, tmp_path):
    def run(block):
        program = tmp_path / block.marks.get("file", "program.py")

        def command(text):
            program.write_text(text)
            return [sys.executable, "-X", "dev", program.name]

        check(block, *run_block(block, command))

    return run


@pytest.fixture
def run_sh(run_block):
    def run(block):
        output, errors = run_block(block, lambda text: ["bash", "-euo", "pipefail", "-c", text])
        # Compilers and their like may say what they do.
        check(block, output, "" if "with" in block.marks else errors)

    return run


@pytest.fixture
def run_cython(doc_modules, run_block):
    def run(block):
        module = doc_modules[block.module]
        lines = [
            f"import sys; sys.path.insert(0, {str(Path(module.__file__).parent)!r})",
            f"import {module.__name__} as module",
            block.marks.get("calls", ""),
        ]
        check(block, *run_block(block, lambda _: [sys.executable, "-c", "\n".join(lines)]))

    return run


def run_compiled(block, names, suffix, tools):
    toolchain, compiler_for, embedded_env, folder = tools
    compiler = compiler_for(*names)
    source = folder / f"program.{suffix}"
    source.write_text(block.program)
    # Examples do without some of their callbacks' arguments.
    compiled = toolchain.compile(compiler, source, "-Wno-unused-parameter")
    if "main(" not in block.program:
        return
    program = toolchain.link(compiler, [compiled], folder / "program")
    done = subprocess.run(
        [program], cwd=folder, env=embedded_env, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    check(block, done.stdout, done.stderr)


@pytest.fixture
def tools(toolchain, compiler_for, embedded_env, tmp_path):
    return toolchain, compiler_for, embedded_env, tmp_path


@pytest.fixture
def run_c(tools):
    return lambda block: run_compiled(block, ("gcc", "clang"), "c", tools)


@pytest.fixture
def run_cpp(tools):
    return lambda block: run_compiled(block, ("g++", "clang++"), "cpp", tools)


def test_each_block_says_what_it_is():
    """One without a language would be passed over."""
    strange = [block.name for block in BLOCKS if block.language not in LANGUAGES]
    assert strange == [], f"of none of {(*LANGUAGES, *PROSE)}"


def test_few_blocks_are_left_out(record_property):
    record_property("left out", [f"{block.name}: {block.marks['left out']}" for block in LEFT_OUT])
    assert [block.name for block in LEFT_OUT if not block.marks["left out"]] == []
    assert len(LEFT_OUT) <= MOST_LEFT_OUT


def test_no_block_is_hidden_by_indentation():
    """Four spaces make a block of code too, which nothing would run."""
    hidden = []
    for page in {block.page for block in BLOCKS}:
        lines = page.read_text().splitlines()
        fenced = False
        for before, line in zip(["", *lines], lines, strict=False):
            fenced ^= line.lstrip().startswith(("```", ":::"))
            if not fenced and not before.strip() and line.startswith("    "):
                hidden.append(f"{page.name}: {line.strip()}")
    assert hidden == []


# The project's own check takes them from there.
COMMANDS = {
    "python -m cyevent chat": "pip install . && python -m cyevent chat",
    "python -m pytest": "pip install '.[test]' && python -m pytest",
}


@pytest.mark.parametrize("part", COMMANDS)
def test_the_readmes_two_commands_come_first(part):
    lines = (ROOT / "README.md").read_text().splitlines()
    assert next(line for line in lines if part in line) == COMMANDS[part]


def test_the_readmes_links_lead_somewhere():
    text = (ROOT / "README.md").read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in headings}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors
        else:
            assert (ROOT / target).exists(), target
