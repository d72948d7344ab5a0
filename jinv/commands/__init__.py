"""One file per command: its arguments (`add_arguments`) and what it does (`run`). Importing them loads neither jax nor torch."""
