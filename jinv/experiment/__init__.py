"""A recipe bound to a network: names become functions, tables become stages, files become start images.

    experiment     `Experiment`, what a run, a sweep, a memory plan and a benchmark take their steps from
    vocabulary     what a config's names stand for, as a value that a plugin extends
    plugins, plugin_names   files and modules of one's own, executed; which ones. blame: whose function failed;
                   elsewhere: what they are in another process
    bind, values   a recipe's tables as the core takes them, each mistake named by its key
    metrics        a config's metrics of finished pictures, bound and tried once
    inputs         what a recipe names, loaded: network, labels, sizes; start_images: what it starts from
    recording, color_moments   real images' statistics in a network's layers, and their colours; statistics: whose a file of them is
    numbers        which numbers a program takes as arguments, so that runs can share it
    shared         networks and programs of several runs, each made once
    devices, memory   where a run computes, and whether it fits

May import `weights` and what is below it. `runs`, `reproduce` and `commands` use it.
"""
