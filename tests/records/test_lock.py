"""A run folder belongs to one process, until that process ends in any way."""

import subprocess
import sys

import pytest

from attn.errors import UserError
from attn.records.lock import lock

HOLD = """
import sys, time
from pathlib import Path
from attn.records.lock import lock
held = lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_process_is_refused_in_one_line_until_the_first_is_killed(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"another process \({holder.pid}\)") as e:
            lock(tmp_path)
        assert "\n" not in str(e.value)
        holder.kill()
    lock(tmp_path).close()
    lock(tmp_path).close()
