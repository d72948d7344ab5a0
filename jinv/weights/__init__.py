"""Weights on disk: the converted file, where it lies, and a `Classifier` from it.

    load     `jinv.load`: by embedded name or by path
    file     the converted file: safetensors whose every byte a digest covers
    packaged   networks that come with jinv, with the records of their training, in networks/
    statistics   the file of recorded statistics; sealed: what both files have in common
    cache    where converted and downloaded files are kept, by digest
    labels   class names, and labels by id, name or synonym; their lists are in data/

May import `models`, `files`, `errors` and what is below; `load` calls the converter, inside functions, for a
checkpoint that is not converted yet. `experiment`, `judge`, `commands` and the converter use it.
"""
