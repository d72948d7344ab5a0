"""The pair of configs that compares a robust with a standard network differs in the network alone."""

from jinv.experiment.bind import check_recipe
from jinv.recipe.read import read_config
from jinv.recipe.recipe import replaced


def test_the_cifar_pair_differs_in_its_model_alone():
    standard, robust = (read_config(f"configs/quality/cifar10_{name}.toml") for name in ("standard", "robust"))
    check_recipe(standard)
    assert (standard.image.count, standard.image.batch) == (1000, 200) and standard.model != robust.model
    assert replaced(robust, model="") == replaced(standard, model="")
