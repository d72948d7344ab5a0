"""What a run leaves on disk, written and read here alone.

    directory    `RunDirectory`: which files there are, and how each is written; for who carries a run out
    run          `open_run`: a run as a value, for who reads it
    pictures     its picture files, and one image with all that is known of it
    manifest, metrics, evaluation   the three JSON files, each as typed entries; config: the form of config.toml
    kinds        what a directory holds, a run or another thing; begun: what is there to be continued, begun with which config
    units        a run's batches, each final in a folder of its own; shards: their arrays as one
    unfinished   what is under way, and its checkpoints, which end with their own digests (sealed); durable: makes names safe
    lock, claims, workers   who works on a run, or on which of its batches, and says what of it; timing: when, how fast
    verify       what is missing, altered, orphaned; status: how far a run is; standing: how far whatever lies there is
    training, distillation   their files; verify_training, verify_distillation, verify_settings: what is wrong there
    entry        what those have in common; estimate: a value with its interval

May import `images`, `recipe`, `files` and what is below, not jax: pages open at once. `runs`, `judge`, `report` and above use it.
"""
