"""Plants faults, one at a time, in a copy of the package: each must turn tests red.

    python tests/faults.py                # all, some minutes on two cores
    python tests/faults.py rotary sink    # those whose names hold a word

Run it when tests are cut or moved. What is caught is what the tests hold; a fault that none
sees is a test to write.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(".*", "build", "runs", "results", "*.egg-info")


@dataclass(frozen=True)
class Fault:
    """A line of the package, what it is replaced by, and tests that should notice."""

    name: str
    path: str
    line: str
    instead: str
    tests: str


FAULTS = (
    Fault(
        "a causal query sees the next key",
        "attn/masks/relative.py",
        "return k - q <= self.offset",
        "return k - q <= self.offset + 1",
        "tests/masks",
    ),
    Fault(
        "a window's tiles miss its first key",
        "attn/masks/relative.py",
        "np.maximum(low, -self.left)",
        "np.maximum(low, 1 - self.left)",
        "tests/masks",
    ),
    Fault(
        "rotary turns half of a pair the other way",
        "attn/positions.py",
        "b * cos + a * sin",
        "b * cos - a * sin",
        "tests/test_positions.py",
    ),
    Fault(
        "a sink takes no part in the softmax",
        "attn/kernels/dense.py",
        "total = total + jnp.exp(sink.astype(acc) - top)",
        "total = total + 0 * sink.astype(acc)",
        "tests/attention/test_attend_options.py",
    ),
    Fault(
        "the gradient of tiles leaves the soft-cap out",
        "attn/kernels/blockwise/backward.py",
        "d_scores * (1.0 - (scores / plan.softcap) ** 2)",
        "d_scores * 1.0",
        "tests/kernels/test_blockwise.py",
    ),
    Fault(
        "every epoch has the order of the first",
        "attn/data/pipeline.py",
        "default_rng([seed, epoch])",
        "default_rng([seed, 0])",
        "tests/data/test_pipeline.py",
    ),
    Fault(
        "rows that fill the last batch are scored",
        "attn/data/pipeline.py",
        "np.where(counted, given, np.float32(0))",
        "np.where(counted, given, given)",
        "tests/data/test_pipeline.py",
    ),
    Fault(
        "linear attention forgets all chunks but the last",
        "attn/kernels/lowrank/linear_state.py",
        "jnp.cumsum(states, axis=0)[:-1]",
        "states[:-1]",
        "tests/kernels/test_definitions.py",
    ),
    Fault(
        "padding fades the state of the delta rule",
        "attn/kernels/recurrent/gated_delta.py",
        "(jnp.where(real, x, 0.0) for x in (log_keep, beta))",
        "(x for x in (log_keep, beta))",
        "tests/kernels/test_definitions.py",
    ),
    Fault(
        "a damaged checkpoint is taken for a good one",
        "attn/records/seal.py",
        "if digest(found[name]) != known:",
        "if not digest(found[name]):",
        "tests/train/test_checkpoint_damage.py",
    ),
    Fault(
        "a mechanism's own weights are counted short",
        "attn/kernels/recurrent/gated_delta.py",
        "return 2 * (H + 1)",
        "return 2 * H",
        "tests/config/test_cost.py",
    ),
    Fault(
        "the learning rate has no warm-up",
        "attn/train/optimizer.py",
        "optax.linear_schedule(0.0, config.peak_lr, config.warmup_steps)",
        "optax.linear_schedule(config.peak_lr, config.peak_lr, config.warmup_steps)",
        "tests/train/test_optimizer.py",
    ),
)


def first_red(tests: str, home: Path) -> str:
    """Runs tests in a copy; the first that is red, or empty.

    Raises:
        SystemExit: pytest did not run.
    """
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", *tests.split()]
    env = os.environ | {"PYTHONPATH": str(home)}
    done = subprocess.run(words, cwd=home, env=env, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        sys.exit(f"{tests}: pytest ended with {done.returncode}\n{done.stdout}")
    red = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return red[1] if red else ""


def plant(fault: Fault, home: Path) -> str:
    """Runs the tests of a copy with the fault in it; the first that went red.

    Raises:
        SystemExit: the line is not there once.
    """
    path = home / fault.path
    whole = path.read_text()
    if whole.count(fault.line) != 1:
        sys.exit(f"{fault.path} has not once {fault.line!r}; mend tests/faults.py")
    path.write_text(whole.replace(fault.line, fault.instead))
    red = first_red(fault.tests, home)
    path.write_text(whole)
    return red


def main(words: list[str]) -> int:
    chosen = [f for f in FAULTS if not words or any(word in f.name for word in words)]
    if not chosen:
        sys.exit("no fault has that word: " + "; ".join(f.name for f in FAULTS))
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "copy"
        shutil.copytree(ROOT, home, ignore=LEFT_OUT)
        for tests in dict.fromkeys(fault.tests for fault in chosen):
            if red := first_red(tests, home):
                sys.exit(f"{red} is red without any fault")
        for fault in chosen:
            red = plant(fault, home)
            missed += not red
            print(f"{fault.name}: {red or 'NOT CAUGHT'}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} caught")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
