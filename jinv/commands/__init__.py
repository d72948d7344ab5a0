"""One file per command of `jinv`: its arguments (`add_arguments`), a line of help (`HELP`), what it does (`run`).

    synthesize, sweep, search, reproduce   carry experiments out
    worker, merge, submit, status  a run that many share: one who makes it, its end, on a cluster, how far it is; standing: of trainings
    config, models, terms          say what there is, and what a config says; check: whether functions keep the contract
    record_stats                   measures real images in a network, for terms that compare with them
    evaluate, report, attribute, export, verify   go on with runs that are there
    train, distill                 networks trained, and what images are worth for it
    convert, validate              the converter's two, whose arguments and work are in `jinv_convert.commands`
    arguments, distributed         arguments that several commands have; supervision: who ends a job that lost a process
    compilation                    what every command that computes does first
    output                         standard streams that cannot take a run down with them

Importing them loads neither jax nor torch: what a command needs it imports when it runs. May import everything but
`cli`, which lists them in `cli.COMMANDS` and uses them alone.
"""
