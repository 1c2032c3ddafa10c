"""Which system calls the buffers make, and what becomes of those that fail."""

import errno
import re
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from cyevent import EvBuffer

DISABLE_MMAP = 2
DISABLE_SENDFILE = 4


# getppid() marks where what is looked at begins and ends.
TRACED = (
    *("getppid", "openat", "mmap", "read", "readv", "pread64", "preadv", "recvfrom", "recvmsg"),
    *("splice", "copy_file_range", "sendfile", "sendto", "sendmsg"),
    *("write", "writev", "pwrite64", "pwritev"),
)


@pytest.fixture(scope="session")
def strace():
    path = shutil.which("strace")
    if path is None:
        pytest.skip("strace is not installed")
    command = [path, "-f", "--seccomp-bpf", "-y"]
    if subprocess.run([*command, "-o", "/dev/null", "true"], capture_output=True).returncode:
        pytest.skip("strace may not trace here, or is too old")
    return command


def libraries():
    return [str(Path(__file__).parents[1] / "lib")]


def whole_calls(lines):
    """Without the threads' numbers; a call that another thread's came between is one line again."""
    calls, open_calls = [], {}
    for line in lines:
        thread, _, call = line.partition(" ")
        call = call.lstrip()
        if call.endswith(" <unfinished ...>"):
            open_calls[thread] = len(calls)
            calls.append(call.removesuffix(" <unfinished ...>"))
        elif resumed := re.match(r"<\.\.\. \w+ resumed>", call):
            calls[open_calls.pop(thread)] += call[resumed.end() :]
        else:
            calls.append(call)
    return calls


@pytest.fixture
def traced(strace, cython_modules, package_env, tmp_path):
    """Runs a function of tests/cython/traced.pyx; returns its output and the system calls it made."""
    module = cython_modules["traced"]
    folder = str(Path(module.__file__).parent)
    program = (
        f"import sys; sys.path[:0] = {[folder, *libraries()]!r}; import traced; "
        "import os; os.getppid(); "
        "traced.{call}; os.getppid()"
    )

    def run(call, *, inject=None, path=None):
        log = tmp_path / "strace.log"
        command = [*strace, "-o", str(log), "-e", f"trace={','.join(TRACED)}"]
        command += ["-e", f"inject={inject}"] if inject else []
        command += ["-P", str(path)] if path else []
        command += [sys.executable, "-c", program.format(call=call)]
        result = subprocess.run(
            command, capture_output=True, text=True, env=package_env, cwd=tmp_path, timeout=60
        )
        assert result.returncode == 0, result.stderr
        lines = whole_calls(log.read_text().splitlines())
        if path is None:
            marks = [i for i, line in enumerate(lines) if line.startswith("getppid(")]
            lines = lines[marks[-2] + 1 : marks[-1]]
        return result.stdout.strip(), lines

    return run


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a file to send"
    path.write_bytes(bytes(range(256)) * 1000)
    return path


def calls_on(lines, path):
    """The names of the calls that were given the open file."""
    return {line.split("(")[0] for line in lines if f"<{path}>" in line.split(" = ")[0]}


def test_a_file_leaves_by_sendfile(traced, path):
    # Up to where all has arrived: to compare, the file is read once more.
    output, lines = traced(f"send_file({str(path)!r}, 0)")
    assert output == "whole"
    opened = next(
        i for i, line in enumerate(lines) if line.startswith("openat(") and str(path) in line
    )
    arrived = next(
        i for i, line in enumerate(lines) if line.startswith("recvfrom(") and "EAGAIN" in line
    )
    lines = lines[opened + 1 : arrived]
    assert calls_on(lines, path) == {"sendfile"}
    head = next(line for line in lines if line.startswith("sendto("))
    assert "MSG_MORE" in head
    # The file follows at once.
    assert lines[lines.index(head) + 1].startswith("sendfile(")


def test_a_file_that_is_looked_at_is_mapped_once(traced, path):
    output, lines = traced(f"load_file({str(path)!r}, 0)")
    assert output == "300 bytes"
    assert not calls_on(lines, path) & {"read", "pread64", "sendfile"}
    assert sum(line.startswith("mmap(") and str(path) in line for line in lines) == 1
    output, lines = traced(f"load_file({str(path)!r}, {DISABLE_MMAP})")
    assert output == "300 bytes"
    assert sum(line.startswith("pread64(") and str(path) in line for line in lines) == 1
    assert "mmap" not in calls_on(lines, path)


@pytest.mark.parametrize(("target", "call"), [("socket", "sendmsg"), ("pipe", "writev")])
def test_a_hundred_chains_leave_in_one_call(traced, target, call):
    output, lines = traced(f"many_chains({target!r})")
    assert output == "200 True"
    writes = [
        line
        for line in lines
        if line.split("(")[0] in {"write", "writev", "sendto", "sendmsg"}
        and "ENOTSOCK" not in line
        # The report itself.
        and not line.startswith("write(1<")
    ]
    assert len(writes) == 1, writes
    assert writes[0].startswith(call + "(")
    assert writes[0].endswith("= 200")


def test_sendfile_refused(traced, path):
    """What the file holds is read and written instead."""
    for code in ("EINVAL", "ENOSYS"):
        output, lines = traced(f"send_file({str(path)!r}, 0)", inject=f"sendfile:error={code}")
        assert output == "whole"
        # It is not tried again for the same part.
        assert sum(line.startswith("sendfile(") for line in lines) == 1
        assert any(line.startswith("pread64(") for line in lines)


def test_mapping_refused(traced, path):
    output, _ = traced(f"load_file({str(path)!r}, 0)", inject="mmap:error=ENODEV", path=path)
    assert output == "300 bytes"
    output, _ = traced(
        f"send_file({str(path)!r}, {DISABLE_SENDFILE})", inject="mmap:error=ENODEV", path=path
    )
    assert output == "whole"


@pytest.mark.parametrize("code", ["EIO", "ENOSPC"])
def test_a_file_that_cannot_be_read(traced, path, code):
    expected = f"errno {getattr(errno, code)}"
    output, _ = traced(f"send_file({str(path)!r}, 0)", inject=f"sendfile:error={code}")
    assert output == expected
    both = DISABLE_MMAP | DISABLE_SENDFILE
    inject = f"pread64:error={code}"
    output, _ = traced(f"send_file({str(path)!r}, {both})", inject=inject, path=path)
    assert output == expected
    output, _ = traced(f"load_file({str(path)!r}, {both})", inject=inject, path=path)
    assert output == expected


def test_large_pieces_are_not_copied(traced):
    """Between what is, in one call of their own, and without holding the head back."""
    output, lines = traced("send_uncopied()")
    assert output == "1 0"
    writes = [line for line in lines if re.match("send(to|msg)", line)]
    assert "MSG_MORE" in writes[0] and writes[0].endswith("= 4")
    assert "MSG_ZEROCOPY" in writes[1] and "MSG_DONTWAIT" in writes[1]
    assert writes[1].endswith("= 153600")
    assert "ZEROCOPY" not in writes[2] and writes[2].endswith("= 4")
    assert len(writes) == 3


@pytest.mark.parametrize("code", ["ENOBUFS", "EOPNOTSUPP"])
def test_memory_that_the_kernel_does_not_want(traced, code):
    output, lines = traced("send_uncopied()", inject=f"sendmsg:error={code}:when=1")
    refused = [line for line in lines if "MSG_ZEROCOPY" in line and code in line]
    assert len(refused) == 1
    # It is tried again, with what comes next, where only room was lacking.
    again = [line for line in lines if "MSG_ZEROCOPY" in line and code not in line]
    assert len(again) == (code == "ENOBUFS")
    assert output == ("1 1" if code == "ENOBUFS" else "0 0")


def test_an_interrupted_call_is_made_again(traced):
    output, lines = traced("one_write_one_read()", inject="sendto:error=EINTR:when=1")
    assert output == "11 11 11"
    assert sum(line.startswith("sendto(") for line in lines) == 2


def test_connection_reset():
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        right, _ = server.accept()
        with left:
            right.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            right.close()
            buf = EvBuffer(b"kept")
            with pytest.raises(ConnectionResetError):
                buf.read(left)
            assert bytes(buf) == b"kept"
            with pytest.raises(ConnectionError if sys.platform == "win32" else BrokenPipeError):
                buf.write(left)
            assert bytes(buf) == b"kept"


def huge_kilobytes():
    """Returns how much of this process is in huge pages."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages:"))


def test_large_memory_in_huge_pages():
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if sys.platform != "linux" or not setting.exists() or "[never]" in setting.read_text():
        pytest.skip("this kernel gives no huge pages")
    before = huge_kilobytes()
    # Not what was huge already: with "always" these bytes themselves may be.
    data = bytearray(b"x") * (64 << 20)
    source = huge_kilobytes() - before
    buf = EvBuffer()
    buf.add(data)
    assert huge_kilobytes() - before - source >= 32 << 10, "half at least: the kernel may lack some"
    assert buf.search(b"y") == -1
