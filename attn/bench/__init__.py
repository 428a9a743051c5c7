"""Our kernels beside what a user would pick instead: same run, in turn, by ratio."""
