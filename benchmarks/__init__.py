"""What jinv costs, beside what its users could pick instead: `python -m benchmarks.NAME`.

    step, sweep   seconds per step beside PyTorch's, one case and all (`make bench`); `problem`, `worker`, `jinv_step`,
                  `torch_step` are their parts
    whole_run     what a run costs beyond its steps
    recognition   seconds per image that a stranger recognises; `contestants` and `nvlabs` are who runs
    gpu           a whole synthesis on a GPU, in three precisions

The others say in their first line what they measure; `machine` says on what.
"""
