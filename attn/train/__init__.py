"""Training: state, step, loop, checkpoints and records of runs."""
