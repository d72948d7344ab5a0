"""The synthesis itself, pure: arrays in, arrays out, no files, no framework of networks.

    synthesis, sweep     `synthesize` for one batch, and K settings of it side by side
    loop                 the one stage loop, `Synthesis.run`; program: a stage's functions, compiled once
    step                 one step: the view, the objective, the update, projections; what a stage and a method are
    committee            several networks in one objective; balance: weights that follow from gradients; inspection: attributions
    objective            terms with weights and schedules; losses, regularizers, colors, statistics: the terms themselves
    image_stats          each image's statistics of a layer; averages: a batch's, over steps
    augment              random changes of the image; parameterization, decorrelation: what is optimised instead
    starts, schedules    what a stage starts from; numbers that follow its steps; optimizers: Adam as published, and others
    draws                keys, and draws that no ambient setting changes; chunked, devices: a batch in parts, over devices
    types, choices       the values that flow, the names that configs choose from; pixels: 8 bits; processor: `jit` for this one
    contract, signatures what every term and augmentation keeps; what a function says it is

May import jax, optax and `errors`; the modules' own order is a contract in pyproject.toml. All rooms above use it.
"""
