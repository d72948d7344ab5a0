"""Two networks on the same inputs: how far apart they are, and whether rounding explains it.

    compare      layers, gradients and operations, in float64 and in float32
    flax_side    what the converted network computes; torch's side is `reference.measure`
    inputs       the images to compare on; images: real ones, by their classes
    report       errors, limits and the verdict; as JSON
    table, summary, page   the report on the terminal, in a dozen lines, and as a page

May import `families`, `reference`, `jinv.weights` and what is below. `validate` and `commands` use it.
"""
