"""Training: state, step, loop, optimizer and checkpoints."""
