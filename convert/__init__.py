"""From a PyTorch checkpoint to a converted file, and the proof that nothing was lost. Imported as `jinv_convert`.

    pipeline        `convert_checkpoint`: read, choose, recognise, check, rename, save; its options
    tables          where weights can lie; renaming: under Flax's names; same_names: what those do not say
    state_dict      the one state dict among what training scripts save; tensor_checks: what a weight must be
    published, download   public files by name, fetched with their digests
    validate        `validate`: PyTorch beside Flax, layer by layer
    commands        `jinv convert` and `jinv validate`
    reader/         containers and pickles, read without executing anything
    families/       a rule file per family of networks
    parity/         the comparison and its reports
    reference/      the networks in torch

May import `jinv.weights` and what is below. torch is imported in `reference` and `validate` alone. `commands` uses
it, and `jinv.weights.load` inside functions.
"""
