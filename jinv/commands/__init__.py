"""One file per command of `jinv`: its arguments (`add_arguments`), a line of help (`HELP`), what it does (`run`).

    synthesize, sweep, reproduce   carry experiments out
    submit, worker, merge, status  by many tasks of a cluster; how far they are; verify: what is damaged
    config, models, terms          say what there is, and what a config says
    evaluate, report, export       go on with runs that are there
    convert, validate              the converter's two, whose arguments and work are in `jinv_convert.commands`
    arguments                      arguments that several commands have
    distributed, supervision       one batch over several machines: the arguments, and a watch over each process
    compilation                    what every command that computes does first
    output                         standard streams that cannot take a run down with them

Importing them loads neither jax nor torch: what a command needs it imports when it runs. May import everything but
`cli`, which lists them in `cli.COMMANDS` and uses them alone.
"""
