"""benchmarks/thesis: every model of a plan on the same frozen held-out problems, then the tables of the thesis.

    python benchmarks/thesis.py benchmarks/thesis.toml --jobs 2 --samples 16 --out benchmarks/results/thesis.json

The plan names run folders by their role (see docs/thesis.md); parameters, FLOP and tokens are read from the runs. Each
model and set is measured once and kept under `--results`: a command that was killed, or is given again with another
model, goes on where it was. A kept result serves only the very weights, problems and settings it was made with.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast

from thesis_numbers import Measured, Model
from thesis_tables import picture, report

from ponder.agent import Limits
from ponder.api import LoadedModel, load
from ponder.cli.machine import commit, machine
from ponder.clients.session import TokenSession
from ponder.core.config import read_config
from ponder.core.errors import EXIT_CODES, BackendError, ConfigError, PonderError
from ponder.core.types import Band
from ponder.engine import EngineConfig
from ponder.evals import Plan, evaluate
from ponder.model.config import read_model_config
from ponder.model.ops import available_threads
from ponder.runs import RunFolder
from ponder.runs.folder import write_atomically
from ponder.tasks import FAMILIES, held_out
from ponder.tasks.catalogue import fingerprint
from ponder.tasks.frozen import FROZEN
from ponder.train.config import Recipe, RlRecipe
from ponder.train.flops import num_parameters

Role = Literal["base", "rl", "more_sft", "expert", "control"]
BANDS: tuple[Band, ...] = ("S", "R", "O")


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the plan."""

    role: Role
    runs: tuple[Path, ...] = ()
    """Run folders one after the other, from nothing to this model: their FLOP add up, the last one's model is asked."""
    model: Path | None = None
    """The model folder, where it is not the last run's."""
    seed: int = 0
    """Models of equal seed are compared with each other."""


@dataclass(frozen=True, slots=True)
class ThesisPlan:
    """What a plan file says; the command's flags go over it."""

    models: Mapping[str, Entry]
    families: tuple[str, ...] = tuple(FAMILIES)
    bands: tuple[str, ...] = BANDS
    n: int = 500
    """Problems of each family and band, answered greedily."""
    samples: int = 0
    """Answers sampled to each of the first `sampled_n` problems."""
    sampled_n: int = 200
    sampled_bands: tuple[str, ...] = BANDS
    temperature: float = 1.0
    max_tokens: int = 1024
    seed: int = 0
    weights: Literal["auto", "fp32", "bf16", "int8"] = "auto"

    def __post_init__(self) -> None:
        for name, allowed in (("families", FAMILIES), ("bands", BANDS), ("sampled_bands", BANDS)):
            given: tuple[str, ...] = getattr(self, name)
            if not given or len(set(given)) < len(given) or not set(given) <= set(allowed):
                raise ConfigError(
                    f"{name} is {list(given)}", f"allowed are {', '.join(allowed)}, each once"
                )
        least = {"n": 1, "samples": 0, "sampled_n": 1, "max_tokens": 2, "temperature": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ConfigError(f"{name} is {getattr(self, name)}", f"allowed is {low} or more")
        if not self.models:
            raise ConfigError("the plan names no model", "give at least one table [models.NAME]")
        seen: dict[tuple[str, int], str] = {}
        for name, entry in self.models.items():
            if not (entry.runs or entry.model):
                raise ConfigError(f"{name!r} has neither runs nor model", "name its run folders")
            if (
                not name.replace("-", "").replace("_", "").replace(".", "").isalnum()
                or name[0] == "."
            ):
                raise ConfigError(f"a model's name is {name!r}", "take letters, digits, - _ .")
            other = seen.setdefault((entry.role, entry.seed), name)
            if other != name:
                raise ConfigError(
                    f"{other!r} and {name!r} are both {entry.role} of seed {entry.seed}",
                    "give models of one role different seeds",
                )


@dataclass(frozen=True, slots=True)
class Job:
    """One model on one set."""

    name: str
    folder: Path
    family: str
    band: Band
    count: int
    samples: int
    temperature: float
    max_tokens: int
    seed: int
    weights: Literal["auto", "fp32", "bf16", "int8"]
    threads: int
    max_running: int
    digest: str
    """Of the model folder's files."""
    problems: str
    """Fingerprint of the questions."""

    def key(self) -> dict[str, Any]:
        """What a kept result must have been made with."""
        names = (
            "family",
            "band",
            "count",
            "samples",
            "max_tokens",
            "weights",
            "digest",
            "problems",
        )
        sampling = ("temperature", "seed") if self.samples else ()
        return {name: getattr(self, name) for name in (*names, *sampling)}

    def path(self, results: Path) -> Path:
        return results / self.name / f"{self.family}-{self.band}-{self.count}x{self.samples}.json"


def main(words: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(words)
    given: dict[str, Any] = {
        name: tuple(cast("list[str]", value)) if isinstance(value, list) else value
        for name, value in vars(arguments).items()
        if name in ThesisPlan.__dataclass_fields__ and value is not None
    }
    try:
        plan = replace(read_config(ThesisPlan, [arguments.plan]), **given)
        models = {name: read_model(name, entry) for name, entry in plan.models.items()}
        threads = arguments.threads or max(1, available_threads() // arguments.jobs)
        jobs = list(jobs_of(plan, models, threads, arguments.max_running))
        measure(jobs, arguments.results, arguments.jobs)
        measured = [kept(job, arguments.results) for job in jobs]
    except PonderError as error:
        print(f"thesis: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("thesis: stopped; the same command goes on from here", file=sys.stderr, flush=True)
        os._exit(EXIT_CODES["interrupted"])  # at once: what is measured now would be waited for
    made = report(
        list(models.values()),
        [
            Measured(job.name, job.family, job.band, row)
            for job, row in zip(jobs, measured, strict=True)
            if row
        ],
    )
    record: dict[str, Any] = made | {
        "facts": facts(plan, arguments.plan),
        "settings": settings(plan),
    }
    print(text_of(record))
    if arguments.out:
        write_atomically(arguments.out, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        write_atomically(arguments.out.with_suffix(".svg"), picture(record["bands"]))
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("plan", type=Path, help="TOML file that names the models")
    made.add_argument("--families", nargs="+", metavar="F")
    made.add_argument("--bands", nargs="+", metavar="B")
    made.add_argument("--n", type=int, help="problems of each family and band")
    made.add_argument("--samples", type=int, help="answers sampled to a problem; 0: greedy only")
    made.add_argument("--sampled-n", type=int, help="problems of each set that are sampled")
    made.add_argument("--temperature", type=float, help="of the samples")
    made.add_argument("--seed", type=int, help="of the samples")
    made.add_argument("--sampled-bands", nargs="+", metavar="B", help="bands that are sampled")
    made.add_argument("--max-tokens", type=int, help="most tokens of one answer")
    made.add_argument("--weights", choices=("auto", "fp32", "bf16", "int8"))
    made.add_argument("--jobs", type=at_least_one, default=1, help="processes")
    made.add_argument("--threads", type=at_least_one, help="of each process")
    made.add_argument(
        "--max-running", type=at_least_one, default=256, help="answers written at a time"
    )
    made.add_argument("--results", type=Path, default=Path("runs/thesis"), help="kept results")
    made.add_argument("--out", type=Path, help="JSON of all tables; a picture is put beside it")
    return made


def at_least_one(text: str) -> int:
    """argparse: a count."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def read_model(name: str, entry: Entry) -> Model:
    """What the entry's folders say of themselves. Raises ConfigError, StorageError, ModelFolderError."""
    folder = entry.model or entry.runs[-1] / "model"
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"{name!r} has no model in {str(folder)!r}",
            "let its run come to its end, which writes the folder",
        )
    runs = [RunFolder.open(path) for path in entry.runs]
    for before, after in pairwise(runs):
        start = stage_of(after).get("start_from")
        if (
            start
            and Path(start).is_dir()
            and digest_of(Path(start)) != digest_of(before.path / "model")
        ):
            raise ConfigError(
                f"{name!r}: the run {str(after.path)!r} did not begin with {str(before.path)!r}",
                "name the runs one after the other, as they were trained",
            )
    spent = [last_record(run) for run in runs]
    return Model(
        name=name,
        role=entry.role,
        seed=entry.seed,
        parameters=num_parameters(read_model_config(folder)),
        flops=total(each.get("flops") for each in spent),
        stage_flops=spent[-1].get("flops") if spent else None,
        tokens=total(each.get("tokens") for each in spent),
        trained_on=trained_on(runs),
        folder=folder,
    )


def stage_of(run: RunFolder) -> dict[str, Any]:
    return asdict(read_config(Recipe, [run.path / "config.toml"]).stage)


def last_record(run: RunFolder) -> Mapping[str, Any]:
    """The metrics of a run's last step; counts in them are of the whole run."""
    steps = [each for each in run.records() if "tokens" in each]
    return steps[-1] if steps else {}


def total(values: Iterable[float | None]) -> float | None:
    """The sum; None where a run does not say, or nothing is known."""
    known = list(values)
    return sum(cast("list[float]", known)) if known and None not in known else None


def trained_on(runs: Sequence[RunFolder]) -> tuple[str, ...]:
    """Families that the last run drew problems from by reward, band R."""
    stage = read_config(Recipe, [runs[-1].path / "config.toml"]).stage if runs else None
    if not isinstance(stage, RlRecipe):
        return ()
    kinds = [kind.partition("/") for kind, share in stage.problems.items() if share > 0]
    return tuple(dict.fromkeys(family for family, _, band in kinds if band == "R"))


def digest_of(folder: Path) -> str:
    """Of the files that decide an answer."""
    digest = hashlib.sha256()
    wanted = {"config.json", "tokenizer.json", "chat_template.jinja"}
    for path in sorted(folder.iterdir()):
        if path.name in wanted or path.suffix == ".safetensors":
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def jobs_of(
    plan: ThesisPlan, models: Mapping[str, Model], threads: int, max_running: int
) -> Iterator[Job]:
    """Model by model; greedy answers to every set first, then samples."""
    works = [(plan.n, 0, cast("tuple[Band, ...]", plan.bands))]
    if plan.samples:
        bands = tuple(band for band in plan.bands if band in plan.sampled_bands)
        works.append((plan.sampled_n, plan.samples, cast("tuple[Band, ...]", bands)))
    prints = {
        (family, band, count): checked(family, band, count)
        for count, _, bands in works
        for family in plan.families
        for band in bands
    }
    digests = {name: digest_of(model.folder) for name, model in models.items()}
    for count, samples, bands in works:
        for name, model in models.items():
            for family in plan.families:
                for band in bands:
                    yield Job(
                        *(name, model.folder, family, band, count, samples, plan.temperature),
                        *(plan.max_tokens, plan.seed, plan.weights),
                        *(threads, max_running),
                        *(digests[name], prints[family, band, count]),
                    )


def checked(family: str, band: Band, count: int) -> str:
    """The fingerprint of a set, which must begin with the frozen problems."""
    problems = held_out(family, band, count)
    frozen = FROZEN[family, band]
    for size, want in ((20, frozen.first), (frozen.count, frozen.whole)):
        if count >= size and fingerprint(problems[:size])[:16] != want:
            raise BackendError(f"{family} {band}: the problems are not the frozen ones")
    return fingerprint(problems)[:16]


def kept(job: Job, results: Path) -> dict[str, Any] | None:
    """The row measured before, when it was made with the same; None otherwise."""
    found: Any
    try:
        found = json.loads(job.path(results).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict):
        return None
    values = cast("dict[str, Any]", found)
    return values.get("row") if values.get("key") == job.key() else None


def measure(jobs: Sequence[Job], results: Path, processes: int) -> None:
    """Every job that has no result yet, in so many processes."""
    missing = [job for job in jobs if kept(job, results) is None]
    began, done = time.monotonic(), 0

    def told(job: Job, line: str) -> None:
        nonlocal done
        done += 1
        left = (time.monotonic() - began) / done * (len(missing) - done) / 60
        print(
            f"[{done}/{len(missing)}] {job.name} {line}; {left:.0f} min left",
            file=sys.stderr,
            flush=True,
        )

    print(f"{len(jobs) - len(missing)} of {len(jobs)} results are there", file=sys.stderr)
    if processes == 1:
        for job in missing:
            told(job, work(job, results))
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=end_with_parent)
    coming = {pool.submit(work, job, results): job for job in missing}
    try:
        for each in as_completed(coming):
            told(coming[each], each.result())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def end_with_parent() -> None:
    """A worker whose command was killed ends as well; what it was measuring is measured anew."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None, "no worker"
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@dataclass(slots=True)
class Desk:
    """The model this process holds."""

    key: tuple[Any, ...] = ()
    model: LoadedModel | None = field(default=None)


DESK = Desk()


def work(job: Job, results: Path) -> str:
    """Measure, keep, and say how it went."""
    key = (job.digest, job.weights, job.threads, job.max_running)
    if DESK.key != key:
        if DESK.model is not None:
            DESK.model.close()
        engine = EngineConfig(
            max_running=job.max_running,
            step_tokens=max(512, 2 * job.max_running),
            max_queue=4 * job.max_running,
        )
        DESK.model = load(job.folder, weights=job.weights, threads=job.threads, engine=engine)
        DESK.key = key
    model, began = DESK.model, time.monotonic()
    assert model is not None, job
    plan = Plan(
        families=(job.family,),
        bands=(job.band,),
        count=job.count,
        samples=job.samples,
        temperature=job.temperature,
        seed=job.seed,
        limits=Limits(max_tokens=job.max_tokens, total_tokens=model.worker.context_len),
    )
    opened = partial(TokenSession, model.template)
    row = evaluate(model.worker, opened, plan, window=2 * job.max_running).values()["rows"][0]
    path = job.path(results)
    path.parent.mkdir(parents=True, exist_ok=True)
    made = {"weights": model.model.weights_format, "machine": machine(), "commit": commit()}
    write_atomically(path, json.dumps({"key": job.key(), "facts": made, "row": row}) + "\n")
    return f"{job.family} {job.band}: {row['right']} of {row['count']} right, {time.monotonic() - began:.0f} s"


def facts(plan: ThesisPlan, path: Path) -> dict[str, str]:
    """The command says what differs from the defaults, wherever it was said."""
    words = ["python benchmarks/thesis.py", path.name]
    for name, value in settings(plan).items():
        if value != ThesisPlan.__dataclass_fields__[name].default:
            told = " ".join(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else value
            words.append(f"--{name.replace('_', '-')} {told}")
    return {"command": " ".join(words), "machine": machine(), "commit": commit()}


def settings(plan: ThesisPlan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in plan.__dataclass_fields__ if name != "models"}


def text_of(record: Mapping[str, Any]) -> str:
    """Every table in columns, then the claims."""
    parts: list[str] = []
    for table in (record, *record["tables"]):
        lines = [table["columns"], *table["rows"]]
        widths = [max(len(str(line[at])) for line in lines) for at in range(len(lines[0]))]
        shown = [
            "  ".join(f"{cell!s:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        parts.append("\n".join([table["title"], *shown]))
    parts.append(
        "\n".join(
            f"[{'holds' if c['holds'] else 'does not hold'}] {c['text']}" for c in record["claims"]
        )
    )
    return "\n\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
