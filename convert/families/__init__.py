"""What tells families of networks apart, and how torch's names become Flax paths.

    family    `Family`: what a rule file says
    table     the rules of every family, by the Flax class that defines it: one literal table
    rules     from names and shapes to targets, every tensor exactly once; which network a file holds
    resnet, resnet_cifar, resnet_preact, resnet_wide, vgg, mobilenet, mobilenet_v1, mobilenet_v3, densenet, googlenet,
    inception, efficientnet, efficientnet_lite, regnet, shufflenet, squeezenet   the rule files

Names and shapes alone: a mismatch is known before any weight is read. May import `jinv.models` and what is below.
`pipeline`, `validate` and `parity` use it.
"""
