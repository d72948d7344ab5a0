"""Pictures in and out, as uint8 arrays (height, width, 3) in sRGB.

    codec    safe reading of any picture file, resizing, grids, PNG and JPEG bytes
    folder   a folder or zip of real images, with a folder per class or none, read one by one
    sample   a bounded part of many images, class by class, and a grid of it; animation: pictures one after another
    metrics  what one picture says by itself, in numbers
    package  pictures that come with an installed package, which is not imported for them

Files of strangers: sizes are bounded before anything is decoded, and what is damaged is an `UnsafeInputError`. May
import `core`, `files` and `errors`. `record`, `judge`, `experiment`, `report` and the converter use it.
"""
