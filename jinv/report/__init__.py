"""Runs as pages that need nothing but themselves: report.html, comparison.html, sheets.

    page            `write_report`, `write_comparison`, and the frame that all pages share
    view, facts     a run as the page shows it, tolerant of what an unfinished run lacks
    charts          lines of numbers as SVG; contact_sheet: many runs as one JPEG
    text            an evaluation in words, for the terminal and the page alike
    templates/      the pages in Jinja, their style and their little script

Reads runs through `record` and computes nothing; jax is forbidden. May import `record` and what is below. `runs`,
`reproduce` and `commands` use it.
"""
