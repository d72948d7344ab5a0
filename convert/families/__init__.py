"""What tells families of networks apart, and how torch's names become Flax paths.

    family    `Family`: what a rule file says
    table     the rules of every family, by the Flax class that defines it: one literal table
    rules     from names and shapes to targets, every tensor exactly once; which network a file holds
    resnet, resnet_cifar, vgg, mobilenet, mobilenet_v1, densenet, googlenet, inception, efficientnet_lite, squeezenet
              the rule files

Names and shapes alone: a mismatch is known before any weight is read. May import `jinv.models` and what is below.
`pipeline`, `validate` and `parity` use it.
"""
