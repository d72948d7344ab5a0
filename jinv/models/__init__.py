"""The networks in Flax: each gives logits and the statistics of every batch norm's input.

    architecture, registry   what is known of a network before it has weights; all of them by name, one literal table;
                  cifar: its rows for 32-pixel images
    origins       who trained the published checkpoints, and their accuracy, by digest
    classifier    `Classifier`: a network, its variables and its preprocessing, with a pure `forward`
    networks      `Networks`: the ones that a run inverts, one or a committee's members
    resnet, resnet_cifar, resnet_preact, resnet_wide, vgg, mobilenet, mobilenet_v1, mobilenet_v3, densenet, googlenet,
    inception, efficientnet, efficientnet_lite, regnet, shufflenet, squeezenet   one file per family, as torchvision's
    layers        convolutions, norms, dense layers as modules; squeeze_excitation; features, taps: what is inside
    ops, activations, pooling   the operations; which formulation a platform gets: formulations, winograd
    precision     float32, TF32 or bfloat16

Weights come from `weights`. May import `core`, `files`, `errors` and Flax. `weights`, `experiment`, `judge` and the
converter use it.
"""
