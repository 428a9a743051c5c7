"""A task's rows on disk and in batches: TFDS builders and a Grain pipeline."""
