"""Configs that once passed their check and then failed: one line, exit code 2, nothing written; and others of their kinds."""

from pathlib import Path

import pytest

from jinv.cli import main
from tests.small_runs import CONFIG, save_tiny

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "cases" / "configs"
NAMED = {
    "lbfgs": "stages[0].optimizer: no such optimizer 'lbfgs'",
    "adam_eps_text": "stages[0].optimizer.eps: 'x' must be a finite number",
    "int_beyond_float": "terms.total_variation.weight: a whole number of 401 digits",
    "nested_arrays": "a: tables and lists are nested more than",
    "steps_1e9": "stages[0].steps: 1000000000 must be a whole number of at most",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("cases")
    for name in ("tiny", "other", "resnet20"):
        save_tiny(path / f"{name}.safetensors", 1)
    return path


@pytest.fixture
def refused(folder, capsys):
    """What is said of a config's text that is refused."""

    def refused(text):
        (folder / "case.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
        before = sorted(path.name for path in folder.iterdir())
        assert main(["synthesize", str(folder / "case.toml"), "--out", str(folder / "run")]) == 2
        assert sorted(path.name for path in folder.iterdir()) == before
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and error.startswith("jinv: error: ") and len(error) < 1500
        return error

    return refused


@pytest.mark.parametrize("name", NAMED)
def test_the_configs_that_were_found_are_refused(name, refused):
    if not SHARED.is_dir():
        pytest.skip(f"the cases are not here ({SHARED})")
    assert NAMED[name] in refused((SHARED / f"{name}.toml").read_bytes())


def test_a_config_with_a_byte_order_mark_is_read(folder, capsys):
    if not SHARED.is_dir():
        pytest.skip(f"the cases are not here ({SHARED})")
    (folder / "bom.toml").write_bytes((SHARED / "utf8_bom.toml").read_bytes())
    assert main(["config", str(folder / "bom.toml")]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_byte_order_mark_and_either_line_end_are_read(ends, folder, capsys):
    (folder / "bom.toml").write_bytes(b"\xef\xbb\xbf" + CONFIG.replace("\n", ends).encode())
    assert main(["config", str(folder / "bom.toml")]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0"])
def test_other_byte_order_marks_are_not(mark, refused):
    codec = {2: "utf-16-le", 4: "utf-32-le"}[len(mark)]
    assert "not UTF-8 at byte 0" in refused(mark + CONFIG.encode(codec))


def with_optimizer(value):
    return CONFIG.replace("steps = 4\n", f"steps = 4\nlearning_rate = 0.1\noptimizer = {value}\n", 1)


@pytest.mark.parametrize(
    "name", ["lbfgs", "polyak_sgd", "adam_", "chain", "apply_if_finite", "MultiSteps", "__doc__", ""]
)
def test_what_is_no_optimizer_of_a_learning_rate_is_refused(name, refused):
    assert "stages[0].optimizer" in refused(with_optimizer(f'"{name}"'))


@pytest.mark.parametrize("value", ['"x"', "true", "[1]", "{a = 1}", "nan", "inf", "-1.0", "1979-05-27"])
@pytest.mark.parametrize("key", ["eps", "b1"])
def test_hyperparameters_of_an_optimizer_are_numbers_where_it_takes_numbers(key, value, refused):
    assert f"stages[0].optimizer.{key}" in refused(with_optimizer(f'{{name = "adam", {key} = {value}}}'))


@pytest.mark.parametrize("digits", [20, 309, 401, 5000])
@pytest.mark.parametrize("place", ["seed = {}\n{rest}", "{rest}\n[checkpoint]\nevery_steps = {}",
                                   "{rest}\n[terms.total_variation]\nweight = {}"])  # fmt: skip
def test_whole_numbers_beyond_64_bits_are_refused_wherever_they_stand(place, digits, refused):
    error = refused(place.replace("{rest}", CONFIG).replace("{}", "1" + "0" * (digits - 1)))
    assert any(key in error for key in ("seed", "every_steps", "total_variation.weight"))


@pytest.mark.parametrize("depth", [40, 900, 20_000])
@pytest.mark.parametrize("opened, closed", [("[", "]"), ("{a=", "}")])
def test_tables_and_lists_nested_too_deep_are_refused(opened, closed, depth, refused):
    assert "nested more than" in refused(f"{CONFIG}\n[augment.zoom]\nx = {opened * depth}1{closed * depth}")


@pytest.mark.parametrize("key, value", [("steps = 4", "steps = {}"), ("batch = 2", "count = {}"),
                                        ("size = 16", "size = {}")])  # fmt: skip
@pytest.mark.parametrize("number", [10**9, 2**31, 2**63 - 1])
def test_numbers_that_no_machine_has_room_for_are_refused_by_their_key(key, value, number, refused):
    name = value.split(" ")[0]
    assert name in refused(CONFIG.replace(key, value.format(number), 1))
