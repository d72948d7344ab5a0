"""The networks in Flax, for inference: each gives logits and the statistics of every batch norm's input.

    architecture, registry   what is known of a network before it has weights; all of them by name, one literal table
    origins       who trained the published checkpoints, and their accuracy, by digest
    classifier    `Classifier`: a network, its variables and its preprocessing, with a pure `forward`
    networks      `Networks`: the ones that a run inverts, one or a committee's members
    resnet, resnet_cifar, vgg, mobilenet, mobilenet_v1, densenet, googlenet, inception, efficientnet_lite, squeezenet
                  one file per family, named as torchvision's
    layers        convolutions, norms and dense layers as named modules; features: what is before the head
    ops, pooling  the operations, and which formulation a platform gets; formulations, winograd: those formulations
    precision     float32, TF32 or bfloat16

Weights come from `weights`. May import `core`, `files`, `errors` and Flax. `weights`, `experiment`, `judge` and the
converter use it.
"""
