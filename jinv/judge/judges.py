"""Who can judge: a converted file, an embedded network, a published one by name, any classifier in ONNX."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jinv.errors import UsageError
from jinv.judge.onnx_judge import OnnxJudge, load_onnx, onnx_table
from jinv.models.architecture import EMBEDDED
from jinv.models.classifier import Classifier
from jinv.recipe.paths import is_onnx
from jinv.weights.cache import CONVERTER_VERSION, file_sha256, is_kept, make_cache_directory
from jinv.weights.file import read_converted
from jinv.weights.load import converted_file, load
from jinv_convert.download import download
from jinv_convert.published import Published, find_published, published_names

Judge = Classifier | OnnxJudge
Tables = Mapping[str, Mapping[str, Any]]
"""`evaluate.onnx` of a config: what is said of ONNX files, by their names without the end."""
Say = Callable[[str], None]


def silent(text: str) -> None:
    """Says nothing."""


def find_judge(
    name: str,
    tables: Tables | None = None,
    *,
    network: Callable[[str], Classifier] | None = None,
    say: Say = silent,
) -> Judge:
    """The judge of that name or file; `network` finds those that are not in ONNX, by default `load`.

    Raises:
      As `load`, `load_onnx` and, for a published name, `download`. UsageError: a network without a head.
    """
    if is_onnx(name):
        return load_onnx(name, tables or {})
    found = network(name) if network else load(judge_file(name, say))
    if not found.class_names:
        raise UsageError(f"{name}: a {found.architecture} without a head, hence without classes: it cannot judge")
    return found


def judge_file(name: str, say: Say = silent) -> str:
    """What `load` takes for a judge: of a published network the converted file in the cache, else the name itself.

    A published file is fetched as `jinv convert NAME` does, once; `say` is told what was fetched.

    Raises:
      StorageError: it is not there and cannot be fetched. UnsafeInputError: it is not the published one.
    """
    if name in EMBEDDED or name not in published_names() or Path(name).is_file():
        return name
    published = find_published(name)
    found = _converted_before(published)
    if found is None:
        path = make_cache_directory() / published.file_name
        fetched = not path.is_file()
        path = download(published)
        if fetched:
            proven = "" if published.sha256 else ", which nobody published to compare with"
            say(f"fetched {name} from {published.url}, sha256 {file_sha256(path)}{proven}")
        found = converted_file(path)
    return str(found)


def _converted_before(published: Published) -> Path | None:
    """A sound conversion of the published file, by the digest that is promised; None without such a promise."""
    stem = Path(published.file_name).stem
    found = make_cache_directory().glob(f"{stem}-*-v{CONVERTER_VERSION}.safetensors") if published.sha256 else ()
    for path in filter(is_kept, found):  # what is damaged, or was not made here, is made anew
        if str(read_converted(path)[1]["source"].get("sha256", "")).startswith(published.sha256):
            return path
    return None


class Digests(NamedTuple):
    """By what a judge is known: the sha256 of its checkpoint or ONNX file, and, of the latter, of what is said of it."""

    sha256: str | None
    table_sha256: str | None = None


def digests_of(judge: Judge) -> Digests:
    """A loaded judge's."""
    table = judge.table.sha256 if isinstance(judge, OnnxJudge) else None
    return Digests(judge.source.get("source_sha256"), table)


def judge_digests(name: str, tables: Tables, check: Callable[[str], Mapping[str, Any]], say: Say = silent) -> Digests:
    """The digests that a judge of that name or file would have now; `check` gives a converted file's metadata.

    Raises:
      As `onnx_table` and `judge_file`.
    """
    if is_onnx(name):
        return Digests(file_sha256(name), onnx_table(name, tables).sha256)
    return Digests(check(judge_file(name, say))["source"].get("sha256"))
