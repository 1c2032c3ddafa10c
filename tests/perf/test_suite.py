"""`python -m perf`: what it lists, and that it runs benchmarks; not how fast anything is."""

import json
import re
import shutil
import types
from pathlib import Path
from xml.etree import ElementTree

import pytest

from perf import _build, _peers
from perf.__main__ import NAMES, benchmark
from perf._suite import parse

ROOT = Path(__file__).resolve().parents[2]
needs_libevent = pytest.mark.skipif(
    not Path("/usr/include/event2/event.h").exists() or not shutil.which("cc"),
    reason="libevent's headers or the C compiler are missing",
)


@pytest.mark.parametrize("command", [(), ("list",)])
def test_every_benchmark_has_one_line_with_its_peers_and_their_versions(perf, command):
    done = perf(*command)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for name in NAMES:
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        one = benchmark(name)
        assert one.title in line
        for peer in one.peers:
            pinned = _peers.PEERS[peer].pinned
            assert re.search(rf"\b{peer}\b", line)
            assert pinned is None or (_peers.found(peer) or pinned) in line


def test_modules_and_names_are_the_same():
    programs = {
        path.stem
        for path in (ROOT / "perf").glob("[a-z]*.py")
        if "Benchmark)" in path.read_text(encoding="utf-8")
    }
    assert programs == set(NAMES)
    assert {benchmark(name).name for name in NAMES} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_quick_asks_for_less_but_enough_rounds_for_a_comparison(name):
    one = benchmark(name)
    full, quick = parse(one, []), parse(one, ["--quick"])
    assert full.rounds > quick.rounds >= 5
    assert parse(one, ["--quick", "--rounds", "2"]).rounds == 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rounds", ["0", "x"])
def test_bad_options_are_refused_by_name(name, rounds, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(benchmark(name), ["--rounds", rounds])
    assert caught.value.code == 2
    assert "--rounds" in capsys.readouterr().err


def test_pinned_versions_are_those_of_the_extra():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (extra,) = re.findall(r"^perf = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    pinned = dict(re.findall(r'"([\w-]+)==([\d.]+)"', extra))
    assert pinned == {
        name: peer.pinned for name, peer in _peers.PEERS.items() if name in ("uvloop", "aiofastnet")
    }


def test_a_missing_or_other_peer_is_told_of(monkeypatch):
    peers = {
        "uvloop": _peers.Peer("1.0", "", lambda: "2.0"),
        "nginx": _peers.Peer("1.0", "", lambda: None),
        "floor": _peers.Peer(None, "", lambda: ""),
        "libevent": _peers.Peer("2.1", "", lambda: "2.1"),
    }
    monkeypatch.setattr(_peers, "PEERS", peers)
    assert len(_peers.differences(peers)) == 2
    assert "uvloop is 2.0; the suite is meant for 1.0" in _peers.differences(["uvloop"])
    assert "nginx is not installed" in _peers.differences(["nginx"])[0]
    assert _peers.described(peers) == "uvloop 2.0, nginx 1.0 (not installed), floor, libevent 2.1"


@needs_libevent
def test_run_gives_a_summary_a_file_and_pictures(perf, tmp_path):
    file, pictures = tmp_path / "run.json", tmp_path / "pictures"
    command = ["run", "parallel", "timers", "--quick", "--rounds", "1"]
    done = perf(*command, "--json", file, "--plot", pictures)
    assert done.returncode == 0, done.stderr
    assert "[1/2] parallel" in done.stderr and "[2/2] timers" in done.stderr
    summary = done.stdout.splitlines()
    assert summary[0].split()[:3] == ["benchmark", "figure", "metric"]
    assert {line.split()[0] for line in summary[2:]} == {"parallel", "timers"}
    document = json.loads(file.read_text())
    assert set(document["benchmarks"]) == {"parallel", "timers"}
    timers = document["benchmarks"]["timers"]
    assert timers["versions"]["libevent"] == _peers.found("libevent")
    for figure in timers["figures"]:
        assert set(figure["samples"]) >= {"cyevent"}
        for peer in figure["samples"].values():
            values = peer[figure["metric"]]
            assert len(values) == (5 if figure["group"] == "memory" else 1)
            assert min(values) > 0
    drawn = sorted(path.name for path in pictures.iterdir())
    assert drawn == ["parallel-1.svg", "timers-1.svg", "timers-2.svg", "timers-3.svg"]
    for path in pictures.iterdir():
        ElementTree.parse(path)


@needs_libevent
def test_a_page_gets_the_figures_of_what_was_run_between_its_marks(perf, tmp_path):
    page = tmp_path / "page.md"
    marks = "".join(
        f"Before {name}.\n<!-- figures: {name} -->\nold {name}\n<!-- end -->\n"
        for name in ("machine", "summary", "parallel", "timers")
    )
    page.write_text(f"{marks}After.\n")
    command = ["run", "parallel", "--quick", "--rounds", "1", "--json", tmp_path / "run.json"]
    done = perf(*command, "--page", page)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    # What was not measured is left alone, and so is what stands around.
    assert "old summary\n" in text and "old timers\n" in text
    assert "old parallel" not in text and "old machine" not in text
    assert text.count("Before ") == 4 and text.endswith("After.\n")
    assert "`python -m perf run parallel --quick --rounds 1`" in text
    figures = json.loads((tmp_path / "run.json").read_text())["benchmarks"]["parallel"]["figures"]
    for figure in figures:
        assert figure["name"] in text
    assert "![parallel-1](page/parallel-1.svg)" in text
    ElementTree.parse(tmp_path / "page" / "parallel-1.svg")
    again = text
    perf(*command, "--page", page)
    assert page.read_text().count("<!-- ") == again.count("<!-- ")


def test_a_page_that_is_not_there_is_refused(perf, tmp_path):
    done = perf("run", "parallel", "--page", tmp_path / "none.md")
    assert done.returncode == 2
    assert "none.md" in done.stderr


@needs_libevent
def test_servers_are_measured_with_all_that_is_told_of_them(perf, tmp_path):
    file = tmp_path / "accept.json"
    options = ["--quick", "--rounds", "1", "--connects", "200", "--groups", "c"]
    done = perf(*options, "--json", file, "--plot", tmp_path, module="perf.accept")
    assert done.returncode == 0, done.stderr
    (figure,) = json.loads(file.read_text())["figures"]
    assert set(figure["samples"]) >= {"cyevent", "libevent", "floor"}
    for peer, metrics in figure["samples"].items():
        for metric in ("cpu", "rate", "p50", "p99", "peak", "client"):
            (value,) = metrics[metric]
            assert value > 0, (peer, metric)
        assert metrics["p99"] >= metrics["p50"]
        assert peer in done.stdout
    assert set(figure["ratios"]["cyevent"]) == {"libevent", "floor"}


@pytest.mark.parametrize("mode", ["echo", "tls", "file"])
@pytest.mark.parametrize(
    "server", ["cyevent-c", "cyevent-python", "libevent", "uvloop", "aiofastnet"]
)
@needs_libevent
def test_each_server_does_what_it_is_measured_with(mode, server, tmp_path, monkeypatch, compiled):
    from perf import _servers

    monkeypatch.setenv("XDG_CACHE_HOME", compiled)
    monkeypatch.chdir(ROOT)
    if not _servers.is_there(server):
        pytest.skip(f"{server} is not installed")
    if mode == "file" and server in ("uvloop", "aiofastnet"):
        pytest.skip(f"{server} sends no files")
    arguments = []
    if mode == "tls":
        pytest.importorskip("OpenSSL")
        arguments = list(_servers.make_certificate(tmp_path))
    size = 100_000
    if mode == "file":
        (tmp_path / "file").write_bytes(b"x" * size)
        arguments = [str(tmp_path / "file")]
    load = "fetch" if mode == "file" else "echo"
    with _servers.Server(server, mode, *arguments) as running:
        with _servers.Load(running.port, load, 3, size, 12, mode == "tls") as clients:
            before = running.cost().total
            told = clients.run()
            assert running.cost().total > before
            assert 0 < told.p50 <= told.p99 <= told.wall
        assert running.peak() * 1048576 >= running.memory() * 0.5


@pytest.mark.parametrize("accepts", [True, False])
@pytest.mark.parametrize("name", ["io_uring", None])
def test_completion_is_measured_where_it_is_there(monkeypatch, accepts, name):
    from perf import _server_programs, echo

    made = []

    class EventBase:
        def __init__(self, **options):
            if "completion" in options and not accepts:
                raise TypeError("unexpected keyword argument")
            made.append(options)
            self.completion = name if options.get("completion") else None

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

    package = types.SimpleNamespace(EventBase=EventBase)
    monkeypatch.setattr(_server_programs._build, "cyevent", lambda: package)
    there = accepts and name is not None
    assert ("cyevent completion" in echo.starters("c")) == there
    _server_programs.cyevent_base(False)
    assert made[-1] == (
        {"threadsafe": False, "completion": False} if there else {"threadsafe": False}
    )


def test_a_load_whose_server_is_gone_is_no_result(monkeypatch, compiled):
    from perf import _servers

    monkeypatch.setenv("XDG_CACHE_HOME", compiled)
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    with _servers.Server("floor") as running:
        with _servers.Load(running.port, "echo", 3, 64, 50) as clients:
            running.process.kill()
            running.process.wait()
            with pytest.raises(RuntimeError, match="lost their connections"):
                clients.run()
    with pytest.raises(RuntimeError, match="could not connect"):
        _servers.Load(_servers.free_port(), "echo", 1, 64, 1)


def test_unknown_names_are_refused(perf):
    done = perf("run", "chian")
    assert done.returncode == 2
    assert "chian" in done.stderr and "chain" in done.stderr


def test_a_compiler_that_fails_is_told_of(perf, tmp_path):
    done = perf("run", "parallel", "--quick", CC="false", XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("perf run: ")
    assert "Traceback" not in done.stderr


@needs_libevent
def test_a_benchmark_that_fails_does_not_keep_others_from_running(perf, tmp_path):
    command = [
        "run",
        "chain",
        "parallel",
        "--quick",
        "--rounds",
        "1",
        "--json",
        tmp_path / "run.json",
    ]
    done = perf(*command, descriptors=400)  # too few for the chain
    assert done.returncode == 1
    assert "chain failed" in done.stdout and "this machine allows" in done.stderr
    assert re.search(r"^parallel", done.stdout, re.MULTILINE)
    assert set(json.loads((tmp_path / "run.json").read_text())["benchmarks"]) == {"parallel"}


def test_parts_are_made_anew_when_their_source_changes(monkeypatch, tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_build, "NATIVE", tmp_path)
    source = tmp_path / "answer.c"
    source.write_text("int answer(void) { return 41; }\n")
    part = _build.Part("library", "answer")
    first = part.compiled()
    assert part.compiled() == first
    assert part.loaded().answer() == 41
    source.write_text("int answer(void) { return 42; }\n")
    assert part.compiled() != first
    assert part.loaded().answer() == 42


@needs_libevent
def test_the_search_for_lost_wake_ups_finds_none(perf):
    done = perf("--lossless", "2000", "--groups", "c", module="perf.wakeup")
    assert done.returncode == 0, done.stderr
    assert "c, cyevent: 2000 wake-ups" in done.stdout and "none lost" in done.stdout


@needs_libevent
def test_a_timer_s_memory_is_looked_at_in_a_process_of_its_own(perf):
    done = perf("--memory-of", "cyevent", "--timers", "1000", module="perf.timers")
    assert json.loads(done.stdout)["struct_bytes"] > 0
