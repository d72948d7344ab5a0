"""What a run leaves on disk, written and read here alone: `run.open_run` for readers, `directory` for who carries it out.

No jax, so that pages and notebooks open at once.
"""
