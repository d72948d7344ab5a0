"""Other networks say what they see in a run's images, read back from its 8-bit files.

    evaluate          `evaluate_run`: every verifier's verdict, written as evaluation.json
    judge             `look`, `judge`: one network's logits, features and statistics of pictures, block by block
    assessment        `assess`: what they say image by image, in flat memory
    judges            `find_judge`: by file, by name, published ones fetched; onnx_judge: a classifier in ONNX
    relations         is a judge a stranger to the inverted network, or a sibling?
    photographs       real images of the run's classes, judged in the same way: the ceiling
    real_images       the run's images beside real ones, in a network's features
    metrics           accuracy with an interval, distances between two sets of features
    picture_metrics   the means over pictures of what each says by itself, `jinv.images.metrics`

Figures are NumPy in float64, once per evaluation; too few images for a figure withhold it. May import the converter,
`weights` and what is below them. `runs`, `reproduce` and `commands` use it.
"""
