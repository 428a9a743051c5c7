"""The process around a command: what it loads, how a signal and a full disk end it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from attn.train.signals import Stopped, StopSignal

ROOT = Path(__file__).parents[2]
HEAVY = "{'jax', 'numpy', 'rich', 'tyro', 'flax', 'matplotlib', 'experiments'}"


def python(*words, **how):
    how = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
    return subprocess.Popen([sys.executable, *words], text=True, **how)


def end(child, number):
    """Sends a signal; the exit code and what was said, within 2 s."""
    child.send_signal(number)
    try:
        _, said = child.communicate(timeout=2)
    finally:
        child.kill()
    return child.returncode, said


def test_help_loads_nothing_heavy():
    code = (
        "import sys, launch\n"
        "from attn.cli import process\n"
        "launch.main(['--help'])\n"
        f"print(sorted({HEAVY} & set(sys.modules)), len(sys.modules))"
    )
    said, _ = python("-c", code).communicate()
    loaded, _, count = said.splitlines()[-1].rpartition(" ")
    assert loaded == "[]"
    assert int(count) < 150


@pytest.mark.slow
def test_list_loads_neither_tyro_nor_rich():
    code = (
        "import sys, launch\n"
        "launch.main(['list'])\n"
        "print(sorted({'tyro', 'rich', 'flax', 'scipy'} & set(sys.modules)))"
    )
    said, _ = python("-c", code).communicate()
    assert said.splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.parametrize(
    "words, module, number",
    [
        (["list"], "jax._src", signal.SIGTERM),
        (["report", "experiments/results/heads"], "matplotlib", signal.SIGINT),
    ],
)
def test_a_signal_ends_whatever_is_going_on(tmp_path, words, module, number):
    out = ["--out", str(tmp_path)] * (words[0] == "report")
    child = python("-X", "importtime", "launch.py", *words, *out)
    assert child.stderr is not None
    while module not in child.stderr.readline() and child.poll() is None:
        pass
    code, said = end(child, number)
    assert code == 75
    assert f"stopped by {number.name}; the same command goes on" in said
    assert "Traceback" not in said


def test_a_signal_does_not_wait_for_what_is_compiled():
    # As a compiler does, the hash keeps the main thread in C for minutes.
    code = (
        "import hashlib\n"
        "from attn.cli import process\n"
        "process.watch_signals()\n"
        "print('ready', flush=True)\n"
        "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
    )
    child = python("-c", code)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    ended = end(child, signal.SIGTERM)
    assert ended == (75, "stopped by SIGTERM; the same command goes on from here\n")


def test_work_without_a_save_gives_signals_to_the_handler_before():
    class Ended(Exception):
        pass

    def end(number, frame):
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    try:
        with StopSignal() as stop:
            with pytest.raises(Ended), stop.at_once():
                os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(Stopped, match="SIGTERM"), stop.at_once():
                pass
        assert signal.getsignal(signal.SIGTERM) is end
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_reader_that_has_gone_is_met_with_silence():
    reader, writer = os.pipe()
    os.close(reader)
    child = python("launch.py", "--help", stdout=writer)
    os.close(writer)
    _, said = child.communicate()
    assert (child.returncode, said) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_in_one_line():
    with Path("/dev/full").open("w") as full:
        child = python("launch.py", "--help", stdout=full)
        _, said = child.communicate()
    assert child.returncode == 1
    assert said == "failed: [Errno 28] No space left on device\n"


def test_a_file_that_may_not_be_written_is_said_in_one_line():
    code = """
import sys
from attn.cli import ending
def write(): raise PermissionError(13, "Permission denied", "README.md")
sys.exit(ending.run(write))
"""
    child = python("-c", code)
    _, said = child.communicate()
    assert child.returncode == 1
    assert said == "failed: [Errno 13] Permission denied: 'README.md'\n"


def test_an_ascii_terminal_is_spoken_to_in_ascii():
    code = "from attn.cli import process; process.prepare(heavy=False); print('3 \u00b1 1')"
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    said, _ = python("-c", code, env=env).communicate()
    assert said == "3 ? 1\n"
