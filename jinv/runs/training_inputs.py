"""What a training's config names, loaded and bound: network, teacher, pictures, method."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import optax

from jinv.core.draws import run_key
from jinv.core.types import Key
from jinv.errors import ModelMismatchError, UsageError
from jinv.experiment.bind import bind_training_augmentations
from jinv.experiment.values import bind_optimizer, bind_schedule
from jinv.experiment.vocabulary import Vocabulary, standard_vocabulary
from jinv.images.folder import Watch, unwatched
from jinv.models.classifier import Classifier
from jinv.recipe.training import TrainingRecipe
from jinv.runs.training_data import Pictures, read_pictures
from jinv.training.adversary import Adversary
from jinv.training.initial import initial_variables
from jinv.training.method import Method, Teacher
from jinv.training.training import Training
from jinv.training.views import Views
from jinv.weights.labels import class_names
from jinv.weights.load import load

LEVELS = 255

INITIAL, SHOWN = 0, 1
"""What the seed's key is folded with for the first weights, and for all that is drawn while a network is trained."""


@dataclass(frozen=True, eq=False)
class TrainingInputs:
    """A checked recipe and all that it names, in memory. `classifier` has the weights that the training begins with."""

    recipe: TrainingRecipe
    classifier: Classifier
    init: Classifier | None
    teacher: Classifier | None
    pictures: Pictures
    test: Pictures | None
    method: Method
    training: Training


def load_training(
    recipe: TrainingRecipe,
    *,
    vocabulary: Vocabulary | None = None,
    watch: Watch = unwatched,
    pictures: Pictures | None = None,
    test: Pictures | None = None,
) -> TrainingInputs:
    """Load and bind what `recipe` names; `pictures` and `test` where they are in memory already.

    Raises:
      JinvError: something is missing or wrong.
    """
    vocabulary = vocabulary or standard_vocabulary()
    init = None if recipe.init is None else load(recipe.init, networks=vocabulary.networks)
    teacher = None if recipe.target.teacher is None else load(recipe.target.teacher, networks=vocabulary.networks)
    classifier = new_network(recipe, init, teacher, vocabulary)
    size, names = classifier.input_size, classifier.class_names
    if pictures is None:
        pictures = read_pictures(recipe.train, names, size, "train", watch)
        if recipe.count is not None:
            if recipe.count > len(pictures.labels):
                raise UsageError(f"count: {recipe.count} images, train has {len(pictures.labels)}")
            pictures = pictures.drawn(recipe.count, recipe.seed)
    if test is None and recipe.test is not None:
        test = read_pictures((recipe.test,), names, size, "test", watch)
    key = jax.random.fold_in(run_key(recipe.seed), SHOWN)

    def method(steps: int) -> Method:
        return bind_method(recipe, classifier, teacher, steps, vocabulary)

    training = make_training(method, pictures, recipe, key)
    return TrainingInputs(recipe, classifier, init, teacher, pictures, test, training.method, training)


def make_training(method: Callable[[int], Method], pictures: Pictures, recipe: TrainingRecipe, key: Key) -> Training:
    """The training; schedules know the number of its updates."""
    count = len(pictures.labels)
    steps = recipe.epochs * (count // min(recipe.batch, count))
    return Training(method(steps), pictures.data, recipe.batch, key)


def new_network(
    recipe: TrainingRecipe, init: Classifier | None, teacher: Classifier | None, vocabulary: Vocabulary
) -> Classifier:
    """The network before its first update: of `init`'s weights, classes and units, else drawn by the seed.

    Raises:
      UsageError: an unknown architecture. ModelMismatchError: `init` is of another one; other classes than the teacher's.
    """
    architecture = vocabulary.meaning("networks", recipe.architecture, "architecture")
    if init is not None:
        if init.architecture != recipe.architecture:
            raise ModelMismatchError(
                f"init: {recipe.init} is a {init.architecture}, architecture says {recipe.architecture}"
            )
        classifier = init
    else:
        names = (
            teacher.class_names
            if teacher
            else class_names(architecture.class_names)
            if architecture.class_names
            else ()
        )
        if not names:
            raise UsageError(
                f"architecture: {recipe.architecture} has no classes of its own; init or target.teacher says them"
            )
        module = architecture.make(len(names))
        key = jax.random.fold_in(run_key(recipe.seed), INITIAL)
        classifier = Classifier(
            architecture=recipe.architecture,
            module=module,
            variables=initial_variables(module, architecture.min_size, key),
            mean=architecture.mean,
            std=architecture.std,
            input_size=architecture.input_size,
            min_size=architecture.min_size,
            class_names=tuple(names),
        )
    if teacher is not None:
        classifier.check_classes(teacher, "target.teacher")
    return classifier


def bind_method(
    recipe: TrainingRecipe, classifier: Classifier, teacher: Classifier | None, steps: int, vocabulary: Vocabulary
) -> Method:
    """How the network is trained, in `steps` updates.

    Raises:
      UsageError: an unknown or ill-typed augmentation, schedule or optimizer.
    """
    rate = bind_schedule(recipe.learning_rate, steps, "learning_rate", vocabulary)
    spec = recipe.optimizer if isinstance(recipe.optimizer, dict) else {"name": recipe.optimizer}
    # The eps of an optimizer is as published: these gradients are of no image's.
    optimizer = bind_optimizer(
        {**spec, "eps_scaling": "none"} if _has_eps(spec, vocabulary) else spec, rate, 1, "optimizer", vocabulary
    )
    size = (classifier.input_size, classifier.input_size)
    return Method(
        classifier=classifier,
        optimizer=optax.chain(optax.add_decayed_weights(recipe.weight_decay), optimizer),
        learning_rate=rate if callable(rate) else optax.constant_schedule(float(rate)),
        views=Views(
            bind_training_augmentations(recipe.augment, size, steps, vocabulary),
            recipe.mix.name,
            float(recipe.mix.alpha),
            float(recipe.target.smoothing),
        ),
        teacher=None if teacher is None else Teacher(teacher, float(recipe.target.temperature)),
        adversary=adversary_of(recipe),
        average=float(recipe.average),
    )


def _has_eps(spec: dict[str, Any], vocabulary: Vocabulary) -> bool:
    return "eps_scaling" not in spec and spec["name"] in ("adam", "adamw")


def adversary_of(recipe: TrainingRecipe) -> Adversary | None:
    """What the config's `[adversary]` says, in pixels where white is 1; None for "none"."""
    table = recipe.adversary
    if table.name == "none" or not table.eps:
        return None
    step = None if table.step is None else table.step / LEVELS
    return Adversary(table.name, table.eps / LEVELS, step, table.steps, float(table.noise))
