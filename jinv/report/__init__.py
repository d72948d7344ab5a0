"""Runs as pages that need nothing but themselves: report.html, comparison.html, sheets.

    page            `write_report`, `write_comparison`, and the frame that all pages share
    settings, settings_page   many settings of one experiment: their table, parallel axes, matrix of images
    view, facts     a run as the page shows it, tolerant of what an unfinished run lacks
    gallery         which images a page carries, in how many bytes; totals: what judges say of all, class by class
    charts, curves  lines of numbers as SVG, and what was logged as such; heatmap: layers over steps
    contact_sheet   many runs as one JPEG; attribution: a picture beside the gradients of terms
    text            an evaluation in words, for terminal and page alike; training, distillation: theirs
    templates/      the pages in Jinja, their style and their little script

A page's bytes are bounded, and its memory by the records, however many images a run has. Reads runs through `record`
and computes nothing; jax is forbidden. May import `record` and what is below. `runs`, `reproduce` and `commands` use it.
"""
