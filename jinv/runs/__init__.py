"""Carries recipes out: in memory, in a run directory, or many side by side.

    in_memory        `jinv.run`: pictures and metrics, nothing written; batches: one batch, told step by step
    synthesize       `run` alone in a directory, `work_on` beside others; stopping: by signals, and when a state is saved
    units, recorder  a worker's way through a run's batches, and what it writes at every moment; worker: its claims
    frames, timing, sinks   the optimisation as an animation; when steps were logged; TensorBoard and others, told of it
    job, distributed   one batch over several processes: what they tell one another; who leads, who follows
    merge, completion   batches put together, judged, reported, sealed; repair: some of them made again
    sweep, sweep_settings, sweep_part, sweep_batch, sweep_summary   many settings, some in one program, and what they came to
    search, study, objectives, panel, search_summary   settings that Optuna chooses: its trials, what is improved, who judges
    records, checks  what a run says of itself, what can be wrong before its first step; submit, jobs_folder: a run given to a cluster
    evaluate, attribution, export   networks and terms asked about images that are there; folders to train on
    progress         what a waiting person sees; allocator: how freed memory is kept

May import `judge`, `report`, `experiment` and what is below. `reproduce` and `commands` use it.
"""
