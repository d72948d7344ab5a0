"""Training, pure: arrays in, arrays out, no files; what `jinv train` and `jinv distill` carry out.

    initial     the variables that a training begins with
    views       what a network is shown of an image in an epoch, and what it is to answer
    adversary   images that are changed against the network: N-FGSM, projected gradient descent
    method      how a network is trained, bound: its optimizer, its views, its teacher, its adversary
    training    one update, and the state that goes from each to the next
    accuracy    how many images a network recognises, as they are and under attack

Every draw is a function of the seed, the epoch and the image's place, so that an interrupted training ends with the same
bits, and a view and its soft label, which SRe2L stores, need not be stored to come again.
May import `models` and `core`; `students` uses it.
"""
