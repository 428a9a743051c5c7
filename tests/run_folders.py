"""Run folders as a training would leave them, with numbers we chose."""

import json

import numpy as np
import pytest

FAMILY = {
    "softmax": "dense",
    "differential": "dense",
    "window": "sparse",
    "longformer": "sparse",
    "bigbird": "sparse",
    "reformer": "sparse",
    "topk": "sparse",
    "linformer": "lowrank",
    "nystrom": "lowrank",
    "linear": "lowrank",
    "performer": "lowrank",
    "based": "lowrank",
    "retention": "recurrent",
    "gated_delta": "recurrent",
}


def softmax_maps(rng, layers=2, heads=4, tokens=24, causal=True):
    """Sharp and flat heads: arrays [N, T, S] whose rows sum to 1."""
    maps = {}
    for layer in range(layers):
        scores = (
            rng.normal(size=(heads, tokens, tokens))
            * np.arange(1, heads + 1)[:, None, None]
        )
        near = -np.abs(np.subtract.outer(np.arange(tokens), np.arange(tokens)))
        scores = scores + near * (0.5 if layer else 0.05)
        if causal:
            scores = np.where(np.tril(np.ones((tokens, tokens), bool)), scores, -np.inf)
        p = np.exp(scores - scores.max(-1, keepdims=True))
        maps[f"layer_{layer}"] = (p / p.sum(-1, keepdims=True)).astype(np.float16)
    return maps


def write_run(
    root,
    kernel="softmax",
    name=None,
    *,
    score=0.9,
    spread=0.02,
    seeds=3,
    heads=4,
    step_ms=12.0,
    temp=1_500_000,
    seq_len=64,
    task="mqar",
    metric="accuracy",
    study="families",
    status="done",
    error=None,
    maps=None,
    labels=None,
    claim=None,
    kernel_knobs=None,
    points=8,
):
    """Writes one run folder under `root` and returns it."""
    rng = np.random.default_rng(abs(hash_of(kernel)) + heads)
    name = name or f"{task}_{kernel}"
    folder = root / f"{name}_h{heads}_{seq_len}"
    folder.mkdir(parents=True)
    family = FAMILY.get(kernel, "dense")
    higher = metric == "accuracy"
    offsets = np.linspace(-1, 1, seeds) if seeds > 1 else np.zeros(1)
    final = [float(score + spread * o) for o in offsets]
    config = {
        "name": name,
        "claim": claim or f"{kernel} recalls what it saw.",
        "fingerprint": "0123456789ab",
        "seeds": seeds,
        "task": {"is": task, "seq_len": seq_len, "pairs": 4},
        "model": {
            "d_model": 64,
            "pattern": ["attention", "mlp"],
            "repeats": 2,
            "num_heads": heads,
            "num_kv_heads": None,
            "head_dim": None,
            "d_ff": None,
            "kernel": {"is": kernel, **(kernel_knobs or {})},
            "positions": "rotary",
            "dtype": "float32",
        },
        "train": {"steps": 500, "batch_size": 64, "peak_lr": 3e-3},
    }
    env = {
        "python": "3.11.9",
        "jax": "0.10.2",
        "platform": "cpu",
        "device_kind": "cpu",
        "device_count": 1,
        "cpu": "Example CPU 3 GHz",
        "cores": 2,
        "git_commit": "0123456789abcdef0123",
        "git_dirty": True,
        "mesh": {"data": 1, "heads": 1, "seq": 1, "fsdp": 1},
    }
    result = {
        "status": status,
        "error": error,
        "study": study,
        "metric": metric,
        "higher_is_better": higher,
        "baselines": {"chance": 0.0039, "copy_last": 0.11}
        if higher
        else {"unigram": 4.3, "gzip": 2.7},
        "kernel": {
            "is": kernel,
            "family": family,
            "impl": "dense",
            "density": 0.5,
            "exact": family != "lowrank",
        },
        "params": 123_456,
        "train_flops_per_step": 1.2e9,
        "temp_bytes": temp,
        "state_bytes": 16_384,
        "step_ms": step_ms,
        "compile_seconds": 3.1,
        "wall_seconds": 20.0,
        "steps": 500,
        "num_heads": heads,
        "num_kv_heads": heads,
        "head_dim": 64 // heads,
        "d_ff": 256,
        "dataset": {"builder": "mqar/t64/1.0.0", "sha256": "ab" * 32},
    }
    if status == "done":
        result["test"] = {"loss": [0.1] * seeds, metric: final}
        result["valid"] = result["test"]
    lines = []
    worst = 0.01 if higher else 5.0
    for step in np.linspace(0, 500, points + 1).astype(int)[1:]:
        rise = 1 / (1 + np.exp(-(step - 220 - 30 * rng.normal()) / 45))
        values = [
            worst + (f - worst) * float(np.clip(rise + 0.02 * rng.normal(), 0, 1))
            for f in final
        ]
        lines.append(
            {
                "step": int(step),
                "train_loss": [1.0] * seeds,
                "step_ms": step_ms,
                "valid": {"loss": [0.5] * seeds, metric: values},
                "seconds": 1.0,
            }
        )
    for file, values in (("config", config), ("env", env), ("result", result)):
        (folder / f"{file}.json").write_text(json.dumps(values))
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines)
    )
    if maps is not None:
        count = next(iter(maps.values())).shape[1]
        words = labels or [f"t{i}" for i in range(count)]
        np.savez(
            folder / "maps.npz", **maps, tokens=np.arange(count), labels=np.array(words)
        )
    return folder


def edit(folder, file, /, **fields):
    """Changes fields of one of a folder's JSON files, as in `edit(folder, "env", cpu="x")`."""
    path = folder / f"{file}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def hash_of(text):
    """Stable in every process, unlike `hash`."""
    return int.from_bytes(text.encode()[:6], "big")


@pytest.fixture
def make_run(tmp_path):
    """`write_run` into this test's own folder."""
    return lambda *args, **knobs: write_run(tmp_path / "runs", *args, **knobs)


@pytest.fixture
def soft_maps():
    """`softmax_maps` with a seed of its own."""
    return lambda **shape: softmax_maps(np.random.default_rng(7), **shape)
