"""The fused kernels' values on a real GPU or TPU, where the machine has one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DEVICES = {"cuda": ("/dev/nvidiactl",), "tpu": ("/dev/accel0", "/dev/vfio/0")}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_kernel_of_the_device_here_equals_the_definition():
    files = [(name, file) for name in DEVICES for file in DEVICES[name]]
    here = next((name for name, file in files if Path(file).exists()), None)
    if here is None:
        pytest.skip(f"no GPU or TPU: none of {', '.join(file for _, file in files)}")
    done = subprocess.run(
        [sys.executable, HERE / "device_values.py"],
        env=os.environ
        | {"JAX_PLATFORMS": f"{here},cpu", "PYTHONPATH": str(HERE.parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["distances"], f"no fused kernel serves {report['device']}"
    # Outputs and probabilities are rounded to bfloat16: 8 bits; products to TF32.
    far = {name: d for name, d in report["distances"].items() if not d < 3e-2}
    assert far == {}
