"""Networks trained in directories of their own: `jinv train`, and the students of `jinv distill`.

    train       a training carried out: begun, gone on with, its state saved
    log         its epochs' lines; beside them clocks, and sinks such as TensorBoard
    trained     what becomes of the network: tested, written, its record sealed
    inputs      what a training's config names, loaded and bound; what several trainings share
    pictures    what they are shown: folders, zips and runs
    comparison  sources beside one another
    record      distillation.json: begun, gone on with, written
    distill     students of several sources of images, synthesised first where they have to be

Every update is `jinv.training`'s. May import `runs`, `training` and what is below; `commands` uses it, and `jinv.train`.
"""
