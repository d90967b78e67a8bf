"""The stages of `sagan bench --suite`: which commands each one runs, and with which settings."""

import dataclasses
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sagan.bench import suite_page
from sagan.bench.timing import say
from sagan.config.fields import check, hints, parse, require

PREFIX = "suite."
STAGES = ("agree", "bench", "beside", "train", "score", "precision")
_SCORED = ("cifar10", "cifar10_sngan")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Which files and programs this machine has, and how much is measured.

    Nothing is downloaded. A stage or step whose file is None is left out.
    """

    cifar10_dir: str | None = None  # data.dir of cifar10; train and precision need it
    inception: str | None = None  # weights of the FID Inception network
    resnet: str | None = None  # weights of the network cifar_resnet
    pictures: str | None = None  # folder of pictures, which are read at 128 px
    peer_images: str | None = None  # folder of 32 px images of another training, to be scored
    # Command of another program. It takes --size --batch --d-steps --repeats --device and --bf16
    # --channels-last --compile; its last line is JSON with images_per_second.
    peer: str | None = None
    peer_forms: tuple[str, ...] = ("eager", "channels-last", "compile", "channels-last+compile")
    beside: tuple[str, ...] = ()  # SIZE:BATCH; none: 32:N 32:8N 128:4N, with N = batch_size
    device: str = "cuda"  # device of the peer; with cpu, this machine needs no GPU at all
    batch_size: int = 64  # at 32 px; four times as many images at 128 px
    repeats: int = 20  # of each timing
    train_seconds: int = 3600  # for each of cifar10 and cifar10_sngan
    num_images: int = 50_000  # generated for a score
    num_real: int | None = None  # real images for a score; None: the whole training set
    curve_steps: int = 5000  # between the checkpoints that are kept and scored for a curve
    curve_images: int | None = None  # generated for each of them; None: at most 10,000
    precision_steps: int = 2000  # of each training of the stage precision

    def __post_init__(self) -> None:
        check(self, PREFIX.rstrip("."))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = 1 if isinstance(value, int) else value
            require(value is None or value >= least, f"{PREFIX}{field.name}={value}; allowed: >= 1")
        for place in self.beside:
            known = re.fullmatch(r"(32|128):[1-9]\d*", place)
            require(known is not None, f"{PREFIX}beside={place}; allowed: 32:BATCH or 128:BATCH")


def read_settings(words: Sequence[str]) -> tuple[Settings, list[str]]:
    """Separates `suite.NAME=VALUE` from the overrides of configs.

    Raises: ConfigError for an unknown name, or a word that is no override.
    """
    known, values, overrides = hints(Settings), {}, []
    for word in words:
        key, equals, value = word.partition("=")
        require(bool(key and equals), f"{word}; allowed with --suite: section.field=value")
        name = key.removeprefix(PREFIX)
        if name == key:
            overrides.append(word)
            continue
        require(name in known, f"{key}; allowed: {', '.join(PREFIX + name for name in known)}")
        values[name] = parse(value, known[name], key)
    return Settings(**values), overrides


class Step(NamedTuple):
    """A command whose output becomes the file `name`.

    Attributes:
      answers: exit status 1 with an output is no failure: the output reports a difference.
      grace_seconds: time from a request to stop until the command is killed.
    """

    name: str
    command: Sequence[str]
    answers: bool = False
    grace_seconds: float = 15


class Training(NamedTuple):
    """A command that trains in the work directory `name`, and resumes if it runs again."""

    name: str
    command: Sequence[str]
    grace_seconds: float = 120


class Stages:
    """Yields the commands of each stage, in order. Later commands may depend on earlier results.

    Args:
      overrides: changes to the config of every stage.
      dry_run: yield all commands, as if all results existed.
    """

    def __init__(self, folder: Path, settings: Settings, overrides: Sequence[str], dry_run: bool):
        self._folder, self._settings, self._overrides = folder, settings, list(overrides)
        self._dry_run = dry_run
        self._data = [f"data.dir={settings.cifar10_dir}"] if settings.cifar10_dir else []
        self._has_data = bool(self._data) or any(
            word.startswith(("data.dir=", "data.name=")) for word in overrides
        )
        self._batch_128 = 4 * settings.batch_size
        self._cifar = [*self._data, f"train.batch_size={settings.batch_size}", *overrides]
        self._num_test = min(settings.num_images, 10_000)  # CIFAR-10's test set has no more

    def agree(self) -> Iterator[Step]:
        """Compares this device's numbers with the CPU's."""
        words = ["cifar10", *self._cifar, "train.batch_size=16", "--against-cpu"]
        yield self._bench("agree.json", *words)._replace(answers=True)

    def bench(self) -> Iterator[Step]:
        """Times the parts of training, the forms of attention, and the cost of batch and size."""
        settings, batch = self._settings, self._settings.batch_size
        repeats = ["--repeats", str(settings.repeats)]
        imagenet = ["imagenet128", "data.name=synthetic", f"train.batch_size={self._batch_128}"]
        imagenet += self._overrides
        for dtype in ("float32", "bfloat16"):
            words = [f"model.dtype={dtype}", *repeats]
            yield self._bench(
                f"bench_cifar10_{dtype}.json", "cifar10", *self._cifar, *words, "--features",
                "--start", *self._trace(f"cifar10_{dtype}"), *self._plot(f"bench_cifar10_{dtype}"),
            )  # fmt: skip
            yield self._bench(
                f"bench_imagenet128_{dtype}.json", *imagenet, *words, "--parts", "train,input",
                "--start", *self._trace(f"imagenet128_{dtype}"),
            )  # fmt: skip
            yield self._bench(
                f"attention_{dtype}.json", "cifar10", *self._overrides, *words, "--attention",
                "--batch-size", str(max(1, batch // 4)), *self._plot(f"attention_{dtype}"),
            )  # fmt: skip
        yield self._bench(
            "bench_imagenet128_flash.json", *imagenet, "model.dtype=bfloat16",
            "model.attention_form=flash", *repeats, "--parts", "train",
            *self._trace("imagenet128_flash"),
        )  # fmt: skip
        if settings.pictures:
            yield self._bench(
                "bench_folder_128.json", "folder", f"data.dir={settings.pictures}",
                "model.image_size=128", "model.attention=64", f"train.batch_size={batch}",
                *self._overrides, *repeats, "--parts", "train,input",
            )  # fmt: skip
        sizes = ",".join(str(n * batch) for n in (1, 2, 4, 8))
        yield self._bench(
            "sweep_batch.json", "cifar10", *self._cifar, *repeats, *self._plot("sweep_batch"),
            "--sweep", f"train.batch_size={sizes}",
        )  # fmt: skip
        yield self._bench(
            "sweep_size.json", "imagenet128", "data.name=synthetic", f"train.batch_size={batch}",
            *self._overrides, "model.attention=16", *repeats, *self._plot("sweep_size"),
            "--sweep", "model.image_size=32,64,128",
        )  # fmt: skip

    def beside(self) -> Iterator[Step]:
        """Times every form of the peer alone, then its fastest form in turns with `sagan bench`."""
        if not self._settings.peer:
            say("beside: left out, without suite.peer")
            return
        batch = self._settings.batch_size
        default = (f"32:{batch}", f"32:{8 * batch}", f"128:{self._batch_128}")
        for place in self._settings.beside or default:
            size, _, batch = place.partition(":")
            ours = ["cifar10", *self._cifar]
            if size == "128":
                ours = ["imagenet128", "data.name=synthetic", *self._overrides]
            for dtype in ("float32", "bfloat16"):
                name = f"{size}_{batch}_{dtype}"
                for form in self._settings.peer_forms:
                    yield Step(f"peer_{name}_{form}.json", self._peer(size, batch, dtype, form))
                fastest = self._fastest(name)
                if fastest is None:
                    say(f"beside {name}: left out, no form of the peer runs")
                    continue
                yield self._bench(
                    f"beside_{name}.json", *ours, f"train.batch_size={batch}",
                    f"model.dtype={dtype}", "--repeats", str(self._settings.repeats), "--beside",
                    shlex.join(self._peer(size, batch, dtype, fastest)),
                    *self._plot(f"beside_{name}"),
                )  # fmt: skip

    def train(self) -> Iterator[Training]:
        """Trains with and without attention."""
        if not self._has_data:
            say("train: left out, without suite.cifar10_dir")
            return
        for name in _SCORED:
            keep = f"checkpoint.keep_every_steps={self._settings.curve_steps}"
            workdir = str(self._folder / name)
            yield Training(name, _sagan("train", name, keep, *self._cifar, "--workdir", workdir))

    def score(self) -> Iterator[Step]:
        """Scores and samples the trainings, and scores real images and those of the peer."""
        settings = self._settings
        for name in _SCORED:
            workdir = self._folder / name
            if not (self._dry_run or (workdir / "config.json").exists()):
                continue
            yield from self._scores(name, str(workdir), "--num-images", str(settings.num_images))
            classes = ",".join(map(str, range(10)))
            options = ["--classes", classes, "--num", "8", "--grid"]
            grid = str(self._folder / f"{name}.png")
            command = _sagan("sample", str(workdir), *options, "--out", grid)
            yield Step(f"sample_{name}.txt", command)
            if settings.inception:
                count = settings.curve_images or self._num_test
                words = [str(workdir), "--step", "all", "--num-images", str(count)]
                yield self._eval(f"curve_{name}", "fid_768", settings.inception, *words)
        if not self._data:
            say("score: real images left out, without suite.cifar10_dir")
            return
        against = ["--reference", "cifar10:train"]
        ours, count = [*self._data, *self._overrides], ["--num-images", str(self._num_test)]
        yield from self._scores("real", "--images", "cifar10:test", *against, *count, *ours)
        if settings.peer_images:
            yield from self._scores("peer", "--images", settings.peer_images, *against, *ours)

    def precision(self) -> Iterator[Step]:
        """Trains in float32 and bfloat16 with several seeds, and compares the scores."""
        if not self._has_data:
            say("precision: left out, without suite.cifar10_dir")
            return
        resnet = self._settings.resnet
        weights = ["--weights", resnet] if resnet else []
        yield self._bench(
            "precision.json", "cifar10", *self._cifar,
            f"train.steps={self._settings.precision_steps}",
            # Without weights, a classifier is trained on the data first.
            f"eval.features={'cifar_resnet' if resnet else 'classifier'}",
            "eval.metrics=classifier_fid,classifier_score,class_accuracy",
            "eval.best_metric=classifier_fid", f"eval.num_images={self._num_test}",
            "--against-float32", str(self._folder / "precision"), *weights,
        )._replace(answers=True, grace_seconds=120)  # fmt: skip

    def _scores(self, name: str, *words: str) -> Iterator[Step]:
        """Scores with each network whose weights were given."""
        inception, resnet = self._settings.inception, self._settings.resnet
        if inception:
            yield self._eval(f"score_{name}_inception", "fid_768,sfid", inception, *words)
        if resnet and name != "peer":  # the peer's images have no labels
            metrics = "classifier_score,class_accuracy,classifier_fid"
            words = *words, "--features", "cifar_resnet"
            yield self._eval(f"score_{name}_resnet", metrics, resnet, *words)

    def _eval(self, name: str, metrics: str, weights: str, *words: str) -> Step:
        real = self._settings.num_real
        words = *words, "--metrics", metrics, "--weights", weights
        words += ("--num-real", str(real)) if real else ()
        return Step(f"{name}.json", _sagan("eval", *words, "--json"))

    def _peer(self, size: str, batch: str, dtype: str, form: str) -> list[str]:
        settings = self._settings
        assert settings.peer
        steps = "1" if size == "128" else "5"
        words = [*shlex.split(settings.peer), "--size", size, "--batch", batch, "--d-steps", steps]
        words += ["--repeats", str(settings.repeats), "--device", settings.device]
        words += ["--bf16"] if dtype == "bfloat16" else []
        return words + [f"--{option}" for option in form.split("+") if option != "eager"]

    def _fastest(self, name: str) -> str | None:
        """Returns the form of the peer with the highest rate; None if none has a result."""
        if self._dry_run:
            return self._settings.peer_forms[0]
        rates = {}
        for form in self._settings.peer_forms:
            result = suite_page.read(self._folder / f"peer_{name}_{form}.json") or {}
            if isinstance(rate := result.get("images_per_second"), int | float):
                rates[form] = rate
        return max(rates, key=rates.__getitem__) if rates else None

    def _bench(self, name: str, *words: str) -> Step:
        return Step(name, _sagan("bench", *words, "--json"))

    def _plot(self, name: str) -> list[str]:
        return ["--out", str(self._folder / f"{name}.png")]

    def _trace(self, name: str) -> list[str]:
        return ["--trace", str(self._folder / "trace" / name)]


def _sagan(*words: str) -> list[str]:
    return [sys.executable, "-m", "sagan", *words]
