"""A folder of experiments as a whole: `jinv reproduce configs/thesis`.

    plan        sheets.toml beside the configs, laid out as runs
    carry_out   every run that is not there yet, then the pages
    numbers     what was measured of a run, with intervals
    claims      the thesis' findings as pure functions of such numbers; findings: from runs to those
    pages       a sheet per figure, and the index

May import `runs` and what is below. `commands` uses it.
"""
