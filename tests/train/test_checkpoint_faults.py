"""Kills and full disks, on real processes."""

import random
import re
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from attn.train.checkpoint.checkpoints import Checkpoints

pytestmark = pytest.mark.slow

CHILD = """
import resource, sys, threading, time
import jax
import jax.numpy as jnp
from attn.errors import UserError
from attn.train.checkpoint.checkpoints import Checkpoints

def state(step):
    return {"w": jax.random.normal(jax.random.key(step), (512, 512)), "step": jnp.int32(step)}

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def settle():
    for thread in threading.enumerate():
        # Not join(): it would raise, and so take, the error of the save.
        while thread.name == "save_finalize" and thread.is_alive():
            time.sleep(0.01)

checkpoints = Checkpoints(sys.argv[1])
"""

SAVE_FOR_EVER = """
first = checkpoints.restore(jax.eval_shape(lambda: state(0)))
step = first.step if first else 0
while True:
    step += 1
    checkpoints.save(step, state(step), {"next_index": step})
    print(step, flush=True)
"""

FULL_ONCE = """
checkpoints.save(1, state(1), {})
settle()
limit(64 * 1024)
checkpoints.save(2, state(2), {})
settle()
limit(resource.RLIM_INFINITY)
checkpoints.save(3, state(3), {})
checkpoints.close()
"""

FULL_FOR_GOOD = """
checkpoints.save(1, state(1), {})
settle()
limit(64 * 1024)
checkpoints.save(2, state(2), {})
settle()
checkpoints.save(3, state(3), {})
settle()
try:
    checkpoints.save(4, state(4), {})
except UserError as error:
    print(error)
checkpoints.close()
"""


def child(script, folder, **options):
    command = [sys.executable, "-c", CHILD + script, str(folder)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def restore(folder):
    here = SingleDeviceSharding(jax.devices()[0])
    return Checkpoints(folder).restore(
        {
            "w": jax.ShapeDtypeStruct((512, 512), jnp.float32, sharding=here),
            "step": jax.ShapeDtypeStruct((), jnp.int32, sharding=here),
        }
    )


def assert_holds(restored, step):
    assert restored.step == step
    assert restored.skipped == ()
    wanted = jax.random.normal(jax.random.key(step), (512, 512))
    assert np.array_equal(restored.state["w"], wanted)


def assert_warned_once(err, step):
    # Now and then TensorStore adds a traceback of its own, when a write ends after
    # the event loop that waited for it: "Event loop is closed". It is harmless.
    assert "UserError" not in err
    assert err.count("could not be saved") == 1
    assert re.search(
        rf"checkpoint {step} could not be saved in \S+: File too large; "
        r"the next save tries again\n",
        err,
    )


@pytest.mark.exhaustive
def test_a_kill_at_any_time_leaves_the_newest_committed_step_good(tmp_path):
    draw, kills = random.Random(1), 5
    newest = 0
    for _ in range(kills):
        process = child(SAVE_FOR_EVER, tmp_path)
        process.stdout.readline()
        time.sleep(draw.uniform(0.0, 0.6))
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate(timeout=60)
        committed = [int(p.name) for p in tmp_path.iterdir() if p.name.isdecimal()]
        if committed:
            assert_holds(restore(tmp_path), max(committed))
            assert max(committed) >= newest
            newest = max(committed)
        if out.split():
            # A save returns only when the one before it is committed.
            assert newest >= int(out.split()[-1]) - 1
    assert newest >= kills - 1


def test_a_disk_full_for_a_while_costs_one_checkpoint_and_a_warning(tmp_path):
    out, err = child(FULL_ONCE, tmp_path).communicate(timeout=120)
    assert out == ""
    assert_warned_once(err, step=2)
    assert_holds(restore(tmp_path), 3)


def test_a_disk_that_stays_full_is_one_line_and_the_older_step_stays_good(tmp_path):
    out, err = child(FULL_FOR_GOOD, tmp_path).communicate(timeout=120)
    assert_warned_once(err, step=2)
    assert re.fullmatch(
        r"checkpoint 3 could not be saved in \S+: File too large; make room and run "
        r"again \(checkpoints kept: 1\)\n",
        out,
    )
    assert_holds(restore(tmp_path), 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "manifests"]
