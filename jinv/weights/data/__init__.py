"""Class names in the order of the outputs, a line each; read by `jinv.weights.labels`.

    imagenet_classes.txt   the 1,000 classes of ILSVRC 2012; several names of one class are separated by commas
    cifar10_classes.txt, cifar100_classes.txt    the 10 classes of CIFAR-10, the 100 fine ones of CIFAR-100

A package, so that its files are found wherever jinv is installed. Imports nothing.
"""
