"""What a training's config names, loaded and bound: network, teacher, pictures, method."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import optax

from jinv.core.augment import Augmentation
from jinv.core.draws import run_key
from jinv.errors import ModelMismatchError, UsageError, naming
from jinv.experiment.bind import bind_training_augmentations, check_recipe
from jinv.experiment.blame import blaming
from jinv.experiment.values import bind_optimizer, bind_schedule
from jinv.experiment.vocabulary import Vocabulary, standard_vocabulary
from jinv.images.folder import Watch, unwatched
from jinv.models.classifier import Classifier
from jinv.recipe.packaged import find_config
from jinv.recipe.read import read_config
from jinv.recipe.recipe import EvaluateRecipe, Recipe, replaced
from jinv.recipe.resolved import table_of
from jinv.recipe.training import DistillationRecipe, Schooling, TrainingRecipe, in_batches
from jinv.students.pictures import Pictures, check_unseen, read_pictures
from jinv.training.adversary import Adversary
from jinv.training.initial import initial_variables
from jinv.training.method import Method, Teacher
from jinv.training.training import Program, Training
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
    training: Training
    vocabulary: Vocabulary

    @property
    def method(self) -> Method:
        """How the network is trained."""
        return self.training.program.method


class Given:
    """What several trainings have in common, and what of one is in memory already: networks, programs, pictures."""

    def __init__(self) -> None:
        self.pictures: Pictures | None = None
        self.test: Pictures | None = None
        self._networks: dict[str, Classifier] = {}
        self._programs: dict[str, Program] = {}

    def network(self, name: str, vocabulary: Vocabulary) -> Classifier:
        """The network of that name or file, read once; raises as `load`."""
        if name not in self._networks:
            self._networks[name] = load(name, networks=vocabulary.networks)
        return self._networks[name]

    def program(
        self,
        recipe: TrainingRecipe,
        classifier: Classifier,
        teacher: Classifier | None,
        count: int,
        vocabulary: Vocabulary,
    ) -> Program:
        """The recipe's program for so many pictures: of recipes that differ in seed and pictures alone, made once."""
        alike = replaced(recipe, seed=0, train=(), test=None)
        key = json.dumps([table_of(alike, every_key=True), count], sort_keys=True)
        if key not in self._programs:
            steps = recipe.epochs * (count // min(recipe.batch, count))
            with blaming(vocabulary):
                method = bind_method(recipe, classifier, teacher, steps, vocabulary)
            self._programs[key] = Program(method, count, recipe.batch)
        return self._programs[key]


def load_training(
    recipe: TrainingRecipe,
    *,
    vocabulary: Vocabulary | None = None,
    watch: Watch = unwatched,
    given: Given | None = None,
) -> TrainingInputs:
    """Load and bind what `recipe` names, but for what is in memory already.

    Raises:
      JinvError: something is missing or wrong.
    """
    vocabulary = vocabulary or standard_vocabulary()
    given = given or Given()
    with naming("init"):
        init = None if recipe.init is None else given.network(recipe.init, vocabulary)
    with naming("target.teacher"):
        teacher = None if recipe.target.teacher is None else given.network(recipe.target.teacher, vocabulary)
    classifier = new_network(recipe, init, teacher, vocabulary)
    size, names = classifier.input_size, classifier.class_names
    pictures, test = given.pictures, given.test
    if pictures is None:
        pictures = read_pictures(recipe.train, names, size, "train", watch)
        test = _read_test(recipe, pictures, names, size, watch)
        if recipe.count is not None:
            if recipe.count > len(pictures.labels):
                raise UsageError.of("count", f"{recipe.count} images, train has {len(pictures.labels)}")
            pictures = pictures.drawn(recipe.count, recipe.seed)
    recipe = in_batches(recipe, len(pictures.labels), "batch", "train" if recipe.count is None else "train (count)")
    program = given.program(recipe, classifier, teacher, len(pictures.labels), vocabulary)
    key = jax.random.fold_in(run_key(recipe.seed), SHOWN)
    return TrainingInputs(
        recipe, classifier, init, teacher, pictures, test, Training(program, pictures.data, key), vocabulary
    )


def _read_test(
    recipe: TrainingRecipe, pictures: Pictures, names: Sequence[str], size: int, watch: Watch
) -> Pictures | None:
    """What the network is tested on, where that is asked for.

    Raises:
      JinvError: as `read_pictures`; or it is what the network is trained on.
    """
    if recipe.test is None:
        return None
    test = read_pictures((recipe.test,), names, size, "test", watch)
    same = [path for path in recipe.train if os.path.realpath(path) == os.path.realpath(recipe.test)]
    if same:
        raise UsageError.of("train", f"{same[0]} is test too, which what is trained is to have never seen")
    check_unseen(pictures, test, "train", ", ".join(recipe.train))
    return test


def new_network(
    recipe: TrainingRecipe, init: Classifier | None, teacher: Classifier | None, vocabulary: Vocabulary
) -> Classifier:
    """The network before its first update: of `init`'s weights, classes and units, else drawn by the seed.

    Raises:
      UsageError: an unknown architecture. ModelMismatchError: `init` is of another one; other classes than the teacher's, or
        images of another size.
    """
    architecture = vocabulary.meaning("networks", recipe.architecture, "architecture")
    if init is not None:
        if init.architecture != recipe.architecture:
            raise ModelMismatchError.of(
                "init", f"{recipe.init} is a {init.architecture}, architecture says {recipe.architecture}"
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
            raise UsageError.of(
                "architecture", f"{recipe.architecture} has no classes of its own; init or target.teacher says them"
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
        if teacher.input_size != classifier.input_size:
            raise ModelMismatchError.of(
                "target.teacher",
                f"{teacher.architecture} takes images of {teacher.input_size} px, {classifier.architecture} of "
                f"{classifier.input_size}: they are shown the same",
            )
    return classifier


def bind_method(
    recipe: TrainingRecipe, classifier: Classifier, teacher: Classifier | None, steps: int, vocabulary: Vocabulary
) -> Method:
    """How the network is trained, in `steps` updates.

    Raises:
      UsageError: an unknown or ill-typed augmentation, schedule or optimizer.
    """
    bound = _bound(recipe, classifier.input_size, steps, vocabulary)
    return Method(
        classifier=classifier,
        optimizer=optax.chain(optax.add_decayed_weights(recipe.weight_decay), bound.optimizer),
        learning_rate=bound.rate if callable(bound.rate) else optax.constant_schedule(float(bound.rate)),
        views=Views(
            bound.augmentations,
            recipe.mix.name,
            float(recipe.mix.alpha),
            float(recipe.target.smoothing),
        ),
        teacher=None if teacher is None else Teacher(teacher, float(recipe.target.temperature)),
        adversary=adversary_of(recipe),
        average=float(recipe.average),
    )


class _Bound(NamedTuple):
    """What the names of a training stand for."""

    rate: float | jax.Array | optax.Schedule
    optimizer: optax.GradientTransformation
    augmentations: tuple[Augmentation, ...]


def _bound(recipe: Schooling, size: int, steps: int, vocabulary: Vocabulary) -> _Bound:
    rate = bind_schedule(recipe.learning_rate, steps, "learning_rate", vocabulary)
    spec = recipe.optimizer if isinstance(recipe.optimizer, dict) else {"name": recipe.optimizer}
    # Of a batch of one: eps stays as it is published, for these gradients are of no image's.
    optimizer = bind_optimizer(spec, rate, 1, "optimizer", vocabulary)
    return _Bound(rate, optimizer, bind_training_augmentations(recipe.augment, (size, size), steps, vocabulary))


def check_names(recipe: TrainingRecipe | DistillationRecipe, vocabulary: Vocabulary | None = None) -> None:
    """Are there the networks' kinds, augmentations, schedules, optimizers and configs that it names? No other file is read.

    Raises:
      JinvError: something is not, or of another type; as `read_config` of a source's.
    """
    vocabulary = vocabulary or standard_vocabulary()
    if isinstance(recipe, TrainingRecipe):
        _check_schooling(recipe, vocabulary)
        return
    with naming("student"):
        _check_schooling(recipe.student, vocabulary)
    for name, source in recipe.sources.items():
        if source.recipe is not None:
            experiment = with_stand_in(recipe, name, experiment_of(recipe, name))
            with naming(f"images.{name}", another=True):
                check_recipe(experiment, vocabulary)


def _check_schooling(recipe: Schooling, vocabulary: Vocabulary) -> None:
    architecture = vocabulary.meaning("networks", recipe.architecture, "architecture")
    with blaming(vocabulary):
        _bound(recipe, architecture.input_size, recipe.epochs, vocabulary)


def adversary_of(recipe: TrainingRecipe) -> Adversary | None:
    """What the config's `[adversary]` says, in pixels where white is 1; None for "none"."""
    table = recipe.adversary
    if table.name == "none":
        return None
    step = None if table.step is None else table.step / LEVELS
    return Adversary(table.name, table.eps / LEVELS, step, table.steps, float(table.noise))


def experiment_of(recipe: DistillationRecipe, name: str) -> Recipe:
    """The synthesis of a source's images, with the teacher as its model where the source names none; its students judge it.

    Where half of the images are another source's, of the next seed: of the same one each would have a twin among those.

    Raises:
      JinvError: as `read_config`.
    """
    source = recipe.sources[name]
    assert source.recipe is not None
    count = recipe.count - recipe.count // 2 if source.after else recipe.count
    with naming(f"images.{name}", another=True):
        found = read_config(find_config(source.recipe), (*source.set, f"image.count={count}"))
    seed = found.seed + 1 if source.after else found.seed
    model, log = source.model or recipe.teacher, recipe.log or found.log
    return replaced(found, model=model, seed=seed, evaluate=EvaluateRecipe(), log=log)


def with_stand_in(recipe: DistillationRecipe, name: str, experiment: Recipe) -> Recipe:
    """A source's synthesis as it can be looked at before there are students: the teacher stands for the one that it needs."""
    return replaced(experiment, student=recipe.teacher) if recipe.sources[name].after else experiment
