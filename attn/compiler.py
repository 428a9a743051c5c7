"""Known faults of the installed compiler, and the flag that works around them."""

import os
import warnings

NAME = "--xla_cpu_experimental_ynn_fusion_type="
FLAG = f"{NAME}individual_dot"
"""The flag that keeps XLA from using YNNPACK for fusions, where the fault is, and leaves
it single products, which are right and up to 1.6 times as fast as XLA's own; XLA reads it
once, at its start."""

FAULTS = {
    "0.10.2": "returns wrong numbers for some CPU programs (jax issue 39103)",
    "0.11.0": "crashes or hangs on some CPU programs (jax issue 39257)",
    **dict.fromkeys(
        ("0.11.1", "0.11.2", "0.12.0", "0.12.0.1"),
        "loses NaN in the maximum of many rows on CPUs",
    ),
}
"""The worst fault of each affected jaxlib, unless `FLAG` is set. They lose NaN, too; of
0.11.0 that was not tried."""


def fault() -> str | None:
    """The compiler fault that CPU programs are exposed to; None where there is none."""
    from jaxlib import __version__ as version

    if NAME in os.environ.get("XLA_FLAGS", ""):
        return None
    return FAULTS.get(version) and f"jaxlib {version} {FAULTS[version]}"


def flags() -> str:
    """The user's `XLA_FLAGS`, and `FLAG` where needed; to be set before jax starts."""
    mine = os.environ.get("XLA_FLAGS", "")
    return f"{mine} {FLAG}".strip() if fault() else mine


def warn_if_exposed() -> None:
    """Warns on a CPU with a faulty jaxlib and without the flag."""
    import jax

    found = fault()
    platforms = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]
    if found and "cpu" in (platforms or "cpu"):
        warnings.warn(
            f"{found}; before jax starts, set XLA_FLAGS='{flags()}'",
            RuntimeWarning,
            stacklevel=3,
        )
