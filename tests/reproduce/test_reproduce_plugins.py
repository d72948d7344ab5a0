"""`jinv reproduce --plugin`: configs whose names a plugin gives their meaning, as every other command takes them."""

import json

import pytest

from jinv.cli import main
from tests.reproduce.test_reproduce import tiny  # noqa: F401
from tests.runs.test_plugins import PRIOR, manifest

pytestmark = pytest.mark.usefixtures("unoptimized")

SHEETS = """
[networks.n]
preset = "quick"
[[figures]]
id = "1"
title = "Edges"
networks = ["n"]
"""
CONFIG = """
model = "tiny"
[image]
size = 8
labels = [0, 1]
[[stages]]
steps = 2
[terms.cross_entropy]
[terms.edge_prior]
weight = 0.1
[metric.blackness]
"""
METRIC = "def blackness(pixels) -> float:\n    return 1 - pixels.mean() / 255\n"


def test_a_folder_of_experiments_takes_plugins(tiny, tmp_path, capsys):  # noqa: F811
    folder, out = tmp_path / "figures", tmp_path / "out"
    folder.mkdir()
    (folder / "sheets.toml").write_text(SHEETS)
    (folder / "figure_1.toml").write_text(CONFIG)
    (tmp_path / "prior.py").write_text(PRIOR)
    (tmp_path / "metric.py").write_text(METRIC)
    words = ["reproduce", str(folder), "--out", str(out)]
    prior, metric = (["--plugin", str(tmp_path / name)] for name in ("prior.py", "metric.py"))
    for given, error in (([], "no such term 'edge_prior'"), (prior, "no such metric 'blackness'")):
        assert main([*words, *given]) == 2 and error in capsys.readouterr().err
        assert not out.exists()
    assert main([*words, *prior, *metric]) == 0
    run = out / "runs" / "1-n"
    assert sorted(name for used in manifest(run)["plugins"] for name in used["names"]) == [
        "metrics.blackness",
        "terms.edge_prior",
    ]
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert 0 < evaluation["pictures"]["metrics"]["blackness"]["value"] < 1
    sheet = (out / "figure_1" / "sheet.html").read_text()
    assert f"--plugin {tmp_path / 'prior.py'}" in sheet and f"--plugin {tmp_path / 'metric.py'}" in sheet
    assert "blackness" in sheet
    # Again: it is there, with the same plugins; with another text of one it is another's.
    stamp = (run / "manifest.json").stat().st_mtime_ns
    assert main([*words, *prior, *metric]) == 0 and (run / "manifest.json").stat().st_mtime_ns == stamp
    (tmp_path / "prior.py").write_text(PRIOR.replace("1e-12", "1e-6"))
    capsys.readouterr()
    assert main([*words, *prior, *metric]) == 6
    assert "with other plugins than it was started with" in capsys.readouterr().err
