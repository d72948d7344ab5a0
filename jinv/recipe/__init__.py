"""What a config says, checked: from TOML or from Python to a `Recipe` of plain values.

    recipe        `Recipe` and its tables: every key is declared here, with type, default, limits, help; training: its own
    tables        tables that stay open for hyperparameters; values: the types of values; batches: which images share one
    onnx          what has to be said of a classifier in ONNX, in a config or beside its file
    declaration   how a key is declared; checking: mistakes in words, all at once
    read, toml    from a file to a recipe; overrides: `--set`; paths: what is relative to what
    packaged      the configs that come with jinv, by name
    variations    the settings of a sweep; ranges, tuning: numbers between two ends, for sweeps and searches
    resolved      a recipe written out again, as a run keeps it; schema: for editors

What a name stands for and whether a network can do it is for `experiment` to say. May import `core.choices`, `files`
and `errors`; jax is forbidden. `experiment`, `judge`, `runs`, `reproduce` and `commands` use it.
"""
