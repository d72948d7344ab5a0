"""What every term, augmentation, parameterization, projection, schedule and metric keeps: one suite for jinv's own and for anybody's.

    suite              every check of a function of some kind, and what a config fills in
    terms, augmentations, parameterizations, projections, schedules, metrics   the checks of each kind
    tracing, purity    whether JAX can compile a function, and whether its value depends on its arguments alone
    surroundings       what else it could read: generators, clocks, the date, the process; others while it is looked at
    hyperparameters    what a config may set, and what a sweep or a schedule hands in
    inputs             the images and the stand-in network that functions are called with
    findings           what a check says, in words

Pure: functions are called, nothing is read or printed. May import the core alone. `jinv check` uses it and prints what it
says; the tests assert that.
"""
