"""Studies of six mechanisms at 1,024 and at 4,096 bytes of real text.

    python launch.py fetch state-of-the-union
    python launch.py run text_1024
    python launch.py run text_4096

A window four times as long, in batches of as many bytes: a mechanism that uses what lies
far back gains by it. All see the 2.5 MB that half of `long_text` sees. The text is one
that its hash names; a library's sources differ from one Python to the next, and are read
by `--task text:FOLDER`. Models have the same parameters, data, steps and seeds, and differ
in `model.kernel` and in the learning rate: the best of four for each on 1,024 bytes, in a
third of the steps and of one seed (`tune text_1024 --over
train.peak_lr=1e-2,2e-2,4e-2,8e-2 --train.steps 200`, 50 minutes).
"""

from dataclasses import replace

from attn.config import Experiment
from attn.config.claims import Claim
from attn.config.tuning import tuned
from attn.kernels import (
    RGLRU,
    GatedDelta,
    Kernel,
    Linear,
    Retention,
    Softmax,
    WindowAttention,
)
from attn.registry import Study, register
from attn.tasks import Addresses
from experiments.lineup import at_own_rates, better, under
from experiments.long_text import base as dense

SHORT = replace(
    dense,
    name="text_1024",
    claim="On 1,024 bytes dense attention is better than each cheaper mechanism.",
    train=replace(dense.train, steps=600, eval_every=600, save_every=200, peak_lr=1e-2),
)
LONG = replace(
    SHORT,
    name="text_4096",
    claim="On 4,096 bytes dense attention is better than each cheaper mechanism.",
    task=Addresses(seq_len=4_096),
    train=replace(SHORT.train, batch_size=1),
)
MECHANISMS: tuple[Kernel, ...] = (
    Softmax(),
    WindowAttention(width=64),
    Linear(),
    Retention(),
    GatedDelta(),
    RGLRU(),
)
NAMES = tuple(kernel.name for kernel in MECHANISMS)


def study_of(base: Experiment, minutes: int) -> Study:
    """Makes the study of all mechanisms on one length of text."""
    first, *others = (f"{base.name}_{name}" for name in NAMES)
    return Study(
        name=base.name,
        claim=base.claim,
        experiments=under(base, MECHANISMS),
        minutes=minutes,
        claims=(Claim(base.claim, better(first, *others)),),
    )


def at_rates_of(study: Study, other: Study) -> Study:
    """Makes each experiment of a study at the rate of its mechanism in another one."""
    pairs = zip(study.experiments, other.experiments, strict=True)
    grids = {mine.name: other.tunings[theirs.name] for mine, theirs in pairs}
    experiments = tuned(study.experiments, grids)
    return replace(study, experiments=experiments, tunings=grids)


short = at_own_rates(study_of(SHORT, minutes=90))
register(short)
register(at_rates_of(study_of(LONG, minutes=120), short))
