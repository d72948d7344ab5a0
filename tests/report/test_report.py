"""The report page: self-contained, complete, tolerant of what a run lacks, safe with other people's text."""

import json
import math
from html.parser import HTMLParser

import numpy as np
import pytest

from jinv.errors import StorageError, UnsafeInputError, UsageError
from jinv.images.codec import png_bytes
from jinv.report.charts import Series, Span, format_number, line_chart, nice_ticks
from jinv.report.gallery import Room
from jinv.report.page import gallery_columns, settings, value_text, write_comparison, write_report
from jinv.report.text import print_result, whole_percent
from jinv.report.view import duration_text, read_run, short_names
from jinv.reproduce.pages import result_line

HOSTILE = "<script>alert(\"x\")</script> & 'quotes' {{ 7 * 7 }}"


def make_run(path, *, names=("tench", "goldfish"), lines=(), evaluation=None, config="", **manifest):
    (path / "images").mkdir(parents=True)
    for i in range(len(names)):
        (path / "images" / f"{i:06d}_x.png").write_bytes(png_bytes(np.full((4, 4, 3), 9 * i, np.uint8)))
    base = {"schema": 1, "labels": list(range(len(names))), "class_names": list(names), "finished": None}
    (path / "manifest.json").write_text(json.dumps(base | manifest))
    (path / "config.toml").write_text(config)
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if evaluation:
        (path / "evaluation.json").write_text(json.dumps(evaluation))
    return path


def line(step, value, **more):
    terms = {"cross_entropy": {"value": value, "weighted": 2 * value}}
    place = {"batch": 0, "step": step, "stage": 0, "stage_step": step, "size": [8, 8]}
    return place | {"learning_rate": 0.1, "total": 2 * value, "accuracy": 0.5, "terms": terms} | more


def verdict(names, correct):
    per_image = [
        {"image": f"images/{i:06d}_x.png", "label": i, "class_name": name, "confidence": 0.5, "correct": right}
        for i, (name, right) in enumerate(zip(names, correct, strict=True))
    ]
    top1 = sum(correct) / len(correct)
    return {"top1": top1, "interval": [0.1, 0.9], "count": len(correct), "per_image": per_image}


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that what is opened is closed."""

    VOID = {"meta", "img", "input", "br", "path", "use", "link"}

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def run(tmp_path):
    lines = [line(s, 8 / s, accuracy=0.5, gradient_norms={"cross_entropy": 1 / s}) for s in range(1, 41)]
    names = ("tench", "goldfish")
    return make_run(
        tmp_path / "a", lines=lines, evaluation={"verifiers": {"net_one": verdict(names, [True, False])}},
        config='model = "net"\n[image]\nsize = [8, 8]\n[terms.cross_entropy]\nweight = 2.0\n', seed=7, wall_seconds=75,
        stages=[{"size": [4, 4], "steps": 30}, {"size": [8, 8], "steps": 10}],
        model={"name": "net", "sha256": "ab" * 32},
    )  # fmt: skip


def test_a_report_shows_images_verdicts_curves_settings_and_digests(run):
    page = Page(write_report(run))
    assert len([i for i in page.all("img") if i["src"].startswith("data:image/png;base64,")]) == 2
    for text in ("1 of 2 recognised", "goldfish", "net_one", "cross_entropy", "Gradient norms", "learning rate", "4 px",
                 "8 px", "weight 2", "1 min 15 s", "seed 7", "ab" * 32, "metrics.jsonl"):  # fmt: skip
        assert text in page.text, text
    assert len([f for f in page.all("figure") if "chart" in f["class"]]) == 5


def test_pages_fetch_nothing(run, tmp_path):
    other = make_run(tmp_path / "b")
    for path in (write_report(run), write_comparison([run, other], tmp_path / "c.html")):
        page = Page(path)
        assert "default-src 'none'" in page.all("meta")[3]["content"]
        for tag, attributes in page.tags:
            for key in ("src", "href", "action", "srcset", "data"):
                assert attributes.get(key, "#").startswith(("data:", "#")), (tag, attributes)
        text = path.read_text()
        assert "http" not in text.replace("http-equiv", "") and "@import" not in text and "url(" not in text


def test_other_peoples_text_stays_text(tmp_path):
    names = (HOSTILE, "</style></figure>")
    run = make_run(
        tmp_path / "x", names=names, lines=[line(1, 1.0, terms={HOSTILE: {"value": 1, "weighted": 1}})],
        evaluation={"verifiers": {HOSTILE: verdict(names, [False, False])}}, device=HOSTILE, model={"name": HOSTILE},
        config=f"model = {json.dumps(HOSTILE)}\n",
    )  # fmt: skip
    for path in (write_report(run), write_comparison([run, run], tmp_path / "c.html")):
        page = Page(path)
        assert page.text.count(HOSTILE) >= 5
        assert len(page.all("script")) == 1 and len(page.all("style")) == 1
        assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
        charts = [json.loads(f["data-points"]) for f in page.all("figure") if "data-points" in f]
        assert {"series", "left", "right", "label"} == set(charts[0])
    assert HOSTILE in {s["name"] for f in Page(write_report(run)).all("figure") if "data-points" in f
                       for s in json.loads(f["data-points"])["series"]}  # fmt: skip


def test_a_reference_shows_its_figures_and_the_nearest_images(tmp_path):
    neighbors = [{"name": "fish/<7>.png", "distance": 1.25, "file": "nearest/000000_1.png"},
                 {"name": "outside", "distance": 2.0, "file": "../../secret.png"}]  # fmt: skip
    names = ("tench", "goldfish")
    reference = {
        "count": 123,
        "features": 4,
        "kernel_distance": {"value": 0.0123, "low": 0.01, "high": 0.02},
        "overlap": {"withheld": "generated: 2 images, at least 6 are needed"},
        "frechet_distance": {"value": 45.6},
        "nearest": [{"image": "images/000000_x.png", "neighbors": neighbors}],
    }
    judged = verdict(names, [True, True]) | {"reference": reference, "diversity": {"withheld": "no class has two"}}
    run = make_run(tmp_path / "r", names=names, evaluation={"verifiers": {"net": judged}})
    (run / "nearest").mkdir()
    for path in (run / "nearest" / "000000_1.png", tmp_path / "secret.png"):
        path.write_bytes(png_bytes(np.zeros((3, 3, 3), np.uint8)))
    page = Page(write_report(run))
    for text in ("123 real images", "0.0123, 95 % interval 0.01 to 0.02", "KID", "Fréchet distance in net features",
                 "withheld: generated: 2 images, at least 6 are needed", "fish/<7>.png", "1.25"):  # fmt: skip
        assert text in page.text, text
    assert "FID" not in page.text and "outside" not in page.text and len(page.all("img")) == 3
    beside = Page(write_comparison([run, make_run(tmp_path / "other", names=names)], tmp_path / "c.html")).text
    for text in ("0.0123, 95 % interval 0.01 to 0.02", "diversity of the run (net)", "not measured"):
        assert text in beside, text


def judged_by(**relations):
    names = ("tench", "goldfish")
    return {name: verdict(names, [True, False]) | {"relation": kin} for name, kin in relations.items()}


def test_strangers_stand_first_beside_what_they_are_worth(tmp_path):
    sure = {"value": 0.25, "low": 0.125, "high": 0.5}
    judges = judged_by(lite1="sibling", squeezenet="stranger", ours="unknown")
    judges["squeezenet"] |= {
        "mean_confidence": sure,
        "photographs": {"count": 1000, "top1": 0.618, "interval": [0.58, 0.65], "top5": 0.83, "top5_interval": [0.8, 0.85],
                        "mean_confidence": {"value": 0.5, "low": 0.4, "high": 0.6}},
    }  # fmt: skip
    judges["lite1"] |= {"accuracy": 0.767}
    figure = {"value": 0.25, "low": 0.2, "high": 0.3, "per_image": []}
    names = ("high_frequency_energy", "mean_variation", "mean_frequency", "contrast", "saturation")
    pictures = {"count": 2} | dict.fromkeys(names, figure)
    real = {"count": 1000} | dict.fromkeys(names, figure | {"value": 0.4375})
    evaluation = {"verifiers": judges, "pictures": pictures, "photographs": {"source": "photos", "pictures": real}}
    run = make_run(tmp_path / "r", evaluation=evaluation)
    page = Page(write_report(run)).text
    heads = [page.index(text) for text in ("squeezenet a stranger", "ours of unknown relation", "lite1 a sibling")]
    assert heads == sorted(heads) and "Judged by" not in page
    for text in ("mean confidence 0.25 (0.12 to 0.50)", "of 1000 photographs 62 % recognised (58 to 65 %)",
                 "itself right on 76.7 % of real images as published", "photographs: 0.438 (0.2 to 0.3)", "saturation"):  # fmt: skip
        assert text in page, text
    beside = Page(write_comparison([run, make_run(tmp_path / "other")], tmp_path / "c.html")).text
    assert "; a stranger" in beside and beside.index("squeezenet") < beside.index("lite1")
    assert "took no part" not in page + beside and "independent" not in page + beside


@pytest.mark.parametrize(
    ("relations", "words"),
    [
        (
            {"a": "sibling", "b": "inverted"},
            "Judged by siblings of the inverted network alone, no stranger has seen it.",
        ),
        ({"a": "sibling", "b": "unknown"}, "Judged by no network that is known to be a stranger to the inverted one."),
        ({"a": "sibling", "b": "stranger"}, ""),
        ({"a": "inverted"}, ""),
    ],
)
def test_a_run_that_no_stranger_judged_says_so_first(tmp_path, capsys, relations, words):
    run = make_run(tmp_path / "r", evaluation={"verifiers": judged_by(**relations)})
    page = Page(write_report(run)).text
    print_result(run)
    line = result_line(read_run(run))
    if not words:
        assert "Judged by" not in page + capsys.readouterr().out + line and "judged by" not in line
    else:
        assert page.index(words) < page.index("Do other networks see it?")
        assert words in capsys.readouterr().out and line.startswith(words[0].lower() + words[1:-1])


@pytest.mark.parametrize(
    ("share", "text"), [(1, "100"), (0.9996, "99.9"), (0.999, "99.9"), (0.9951, "99.5"), (0.971, "97"), (0, "0")]
)
def test_less_than_all_is_never_called_all(share, text):
    assert whole_percent(share) == text


def test_a_run_that_lacks_nearly_everything_has_a_report(tmp_path):
    (tmp_path / "manifest.json").write_text('{"schema": 1}')
    page = Page(write_report(tmp_path))
    assert "not finished" in page.text and "no images yet" in page.text and not page.all("img")


def test_missing_and_damaged_runs_are_refused_in_a_line(tmp_path, run):
    with pytest.raises(StorageError, match="no such directory"):
        write_report(tmp_path / "nowhere")
    (run / "evaluation.json").write_text("{")
    with pytest.raises(UnsafeInputError, match="cannot be read"):
        write_report(run)


def test_a_comparison_puts_the_same_class_side_by_side_and_differences_first(run, tmp_path):
    other = make_run(tmp_path / "b", names=("goldfish", "goldfish"), config='model = "net"\n[image]\nsize = [9, 9]\n')
    page = Page(write_comparison([run, other], tmp_path / "c.html"))
    assert "2 runs side by side" in page.text and len(page.all("img")) == 4
    assert page.text.index("image · size") < page.text.index("run · model")
    with pytest.raises(UsageError, match="at least 2"):
        write_comparison([run], tmp_path / "d.html")


def test_pictures_become_jpeg_where_they_would_weigh_too_much(run):
    view = read_run(run, room=Room(size=10)).gallery
    assert not view.exact and view.images[0].source.startswith("data:image/jpeg;base64,/9j/")


def test_curves_average_batches_within_a_band(tmp_path):
    lines = [line(1, 1.0), line(2, 4.0), line(1, 3.0, batch=1), line(2, math.nan, batch=1)]
    view = read_run(make_run(tmp_path / "r", lines=lines))
    series = view.curves.series("total")
    assert series.x == [1, 2] and series.y[0] == 4.0 and (series.low[0], series.high[0]) == (2.0, 6.0)
    assert math.isnan(series.y[1])
    write_report(tmp_path / "r")


def test_charts_place_values_and_leave_gaps():
    chart = line_chart("t", [Series("a", [0, 1, 2, 4], [0.0, 1.0, math.nan, 2.0])], spans=[Span(0, 4, "s")], zero=True)
    top = 2 * 1.04
    points = [(0, 1000), (250, 1000 * (1 - 1 / top)), (1000, 1000 * (1 - 2 / top))]
    expected = "M{:.1f} {:.1f}L{:.1f} {:.1f}M{:.1f} {:.1f}L{:.1f} {:.1f}".format(*points[0], *points[1], *points[2] * 2)
    assert chart.plots[0].paths == [expected]
    assert line_chart("t", [Series("a", [1], [math.nan])]) is None


def test_log_charts_drop_what_has_no_logarithm():
    chart = line_chart("t", [Series("a", [0, 1, 2], [0.0, 10.0, 1000.0])], scales=("log", "linear"))
    assert [p.scale for p in chart.plots] == ["log", "linear"]
    assert chart.plots[0].paths[0].startswith("M500.0 9") and chart.plots[1].paths[0].startswith("M0.0 9")
    only_zero = line_chart("t", [Series("a", [0, 1], [0.0, 0.0])], scales=("log", "linear"))
    assert [p.scale for p in only_zero.plots] == ["linear"]


@pytest.mark.parametrize("low, high", [(0.03, 7.0), (6000, 16000), (0.3, 0.4), (1e-6, 1e5), (1.0, 1.0)])
def test_log_axes_have_a_handful_of_ticks(low, high):
    plot = line_chart("t", [Series("a", [0, 1], [low, high])], scales=("log",)).plots[0]
    assert 2 <= len(plot.ticks) <= 7 and all(0 <= at <= 100 for at, _ in plot.ticks)


def test_long_curves_are_thinned_but_keep_their_end():
    chart = line_chart("t", [Series("a", list(range(5001)), [1.0 + i for i in range(5001)])])
    kept = chart.data["series"][0]["x"]
    assert len(kept) <= 502 and kept[0] == 0 and kept[-1] == 5000


@pytest.mark.parametrize(
    "value, text",
    [(0, "0"), (1.0, "1"), (0.05, "0.05"), (12.345, "12.3"), (1e-4, "1e-4"), (2.5e7, "2.5e7"), (300, "300"),
     (20000, "20\N{THIN SPACE}000"), (math.inf, "not finite"), (-0.5, "-0.5"), (0.9996, "1")],
)  # fmt: skip
def test_numbers_are_short(value, text):
    assert format_number(value) == text


def test_ticks_are_round():
    assert nice_ticks(0, 450, 6) == [0, 100, 200, 300, 400]
    assert nice_ticks(0.0, 0.2, 5) == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


@pytest.mark.parametrize(
    ("x", "texts"),
    [([1], ["1", "2"]), ([1, 2, 3], ["1", "2", "3"]), ([0, 500], ["0", "100", "200", "300", "400", "500"]),
     ([0.5, 1.0], ["0.5", "0.6", "0.7", "0.8", "0.9", "1"])],
)  # fmt: skip
def test_an_axis_of_whole_numbers_has_whole_ticks(x, texts):
    chart = line_chart("t", [Series("a", x, [float(value) for value in x])], x_label="epoch")
    assert [text for _, text in chart.x_ticks] == texts


def test_small_texts():
    assert value_text({"schedule": "warmup_cosine", "peak": 0.2}) == "warmup_cosine(peak 0.2)"
    assert value_text([224, 224], "size") == "224" and value_text([224, 320], "size") == "224×320"
    assert value_text([130, 980], "labels") == "130, 980" and value_text([0, 1]) == "0, 1"
    assert value_text(list(range(30))).endswith("… (30 in all)")
    assert [duration_text(s) for s in (None, 5, 75, 7300)] == ["", "5 s", "1 min 15 s", "2 h 1 min"]
    names = ["efficientnet_lite1", "efficientnet_lite2"]
    assert short_names(names) == dict(zip(names, ["lite1", "lite2"], strict=True))
    assert short_names(["resnet50"]) == {"resnet50": "resnet50"}
    assert settings({"model": "m", "terms": {}})[1] == ("terms", [("none", "")])
    assert [gallery_columns([str(i) for i in range(n)]) for n in (14, 16, 10, 84)] == [7, 4, 5, 7]
    assert gallery_columns([str(i % 10) for i in range(35)]) == 10
