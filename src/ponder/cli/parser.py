"""cli/parser: every command, flag and range in one place; help, completion and docs/cli.md come from it.

Opens nothing but argparse, so that `ponder --help` and a cold `ponder ask` stay fast.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ponder.core.errors import EXIT_CODES, ConfigError

COMMANDS: dict[str, tuple[str, str]] = {
    "ask": ("ponder.cli.ask:run", "ask one question"),
    "chat": ("ponder.cli.chat:run", "talk with a model"),
    "pull": ("ponder.cli.pull:run", "download a model"),
    "ls": ("ponder.cli.models:run_ls", "list the models on this machine"),
    "show": ("ponder.cli.models:run_show", "describe a model"),
    "rm": ("ponder.cli.models:run_rm", "delete a pulled model"),
    "doctor": ("ponder.cli.doctor:run", "examine this installation"),
    "bench": ("ponder.cli.bench:run", "measure speed on this machine"),
    "train": ("ponder.cli.making:run_train", "train a model from a recipe"),
    "eval": ("ponder.cli.making:run_eval", "measure a model on held-out problems"),
    "report": ("ponder.cli.report:run", "show a training run as a page"),
    "completion": ("ponder.cli.completion:run", "print a completion script for a shell"),
}
"""Command → the function that runs it, resolved when it is called, and its line of help."""

EXIT_HELP = "exit codes:\n" + "\n".join(
    f"  {EXIT_CODES[kind]:<4} {meaning}"
    for kind, meaning in (
        ("ok", "done (also when the reader of a pipe left early)"),
        ("backend", "Ponder or the machine failed"),
        ("usage", "a flag, value or configuration that is not allowed"),
        ("prompt", "a question that is empty, too long for the context, or not UTF-8"),
        ("model_folder", "a model that is missing, damaged or not supported"),
        ("storage", "a full disk, or a file or folder that cannot be read or written"),
        ("network", "a download or endpoint that failed"),
        ("busy", "the queue is full"),
        ("interrupted", "stopped with Ctrl-C"),
    )
)


class Format(argparse.RawDescriptionHelpFormatter):
    """Help of one width everywhere, so that documents can be compared with it."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=96)


class Parser(argparse.ArgumentParser):
    """argparse whose errors are Ponder's: what was given, what is allowed, what to do."""

    commands: dict[str, argparse.ArgumentParser]
    """The parsers of the commands, by name; of the whole command only."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(
            f"{message[:1].upper()}{message[1:]}.".replace("..", "."),
            f"See `{self.prog} --help`.",
        )

    def parse_all(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse, refusing every unknown flag with the nearest known one."""
        parsed, surplus = self.parse_known_args(arguments)
        if surplus:
            command = self.commands.get(parsed.command or "", self)
            given = surplus[0].split("=")[0]
            flags = [flag for action in command._actions for flag in action.option_strings]
            nearest = difflib.get_close_matches(given, flags, 1) if given[:1] == "-" else []
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise ConfigError(
                f"{command.prog} does not take {given!r}.{hint}",
                f"See `{command.prog} --help`.",
            )
        return parsed


def between(
    low: float, high: float | None = None, kind: type[int] | type[float] = int
) -> Callable[[str], float]:
    """A reader of numbers from `low` to `high`, both allowed; infinities and nan never are."""
    what = "a whole number" if kind is int else "a number"
    span = f"from {low:g} to {high:g}" if high is not None else f"from {low:g}"

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not (low <= value <= (high if high is not None else 1e18)):
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give {what} {span}")
        return value

    return read


def id_bias(text: str) -> tuple[int, float]:
    """`ID:BIAS`, for example `42:-5.5`."""
    token, _, bias = text.partition(":")
    try:
        pair = int(token), float(bias)
    except ValueError:
        pair = -1, 0.0
    if pair[0] < 0 or not -100 <= pair[1] <= 100:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not allowed; give ID:BIAS with an id from 0 and a bias from -100 to 100"
        )
    return pair


Row = tuple[str, str, Any, str]
"""Name of a flag or of a positional; metavar (`""`: a switch; `+` at its end: may repeat); reader or choices; help."""

MODEL: tuple[Row, ...] = (
    ("--model", "NAME", str, "nano, a pulled owner/name, or a folder (default: nano)"),
    (
        "--weights",
        "FORMAT",
        ("auto", "fp32", "bf16", "int8", "int4"),
        "one of auto, fp32, bf16, int8, int4 (default: auto)",
    ),
    ("--threads", "N", between(1, 1024), "threads (default: one a core)"),
)
THINKING: tuple[Row, ...] = (
    ("--think", "", True, "think first (default)"),
    ("--no-think", "", False, "answer without thinking"),
    ("--budget", "N", between(0), "most tokens of thinking (default: no limit)"),
    ("--hide-thinking", "", True, "do not print the thinking"),
)
SAMPLING: tuple[Row, ...] = (
    ("--temperature", "X", between(0, 100, float), "0 takes the likeliest token"),
    ("--top-k", "N", between(0), "keep the N likeliest tokens; 0 keeps all"),
    ("--top-p", "X", between(0, 1, float), "keep the likeliest tokens that hold X of the mass"),
    ("--min-p", "X", between(0, 1, float), "drop tokens below X of the likeliest one's mass"),
    ("--presence-penalty", "X", between(-2, 2, float), "lower tokens seen in the output"),
    ("--frequency-penalty", "X", between(-2, 2, float), "lower tokens by how often seen"),
    ("--repetition-penalty", "X", between(0.01, 10, float), "divide scores of tokens seen"),
    ("--logit-bias", "ID:BIAS+", id_bias, "add BIAS to a token's score; may repeat"),
    ("--seed", "N", between(0, 2**63 - 1), "seed of the sampling"),
    ("--max-tokens", "N", between(1), "most tokens of output, thinking included"),
    ("--stop", "TEXT+", str, "end the answer before TEXT; may repeat"),
    ("--stop-id", "ID+", between(0), "end the answer at a token; may repeat"),
    ("--ignore-end-ids", "", True, "go on past the model's end token"),
)
SYSTEM: Row = ("--system", "TEXT", str, "system message")
STATS: Row = ("--stats", "", True, "print token counts and speed")
JSON: Row = ("--json", "", True, "print one JSON object")
SAMPLED = "sampling (defaults: the model's generation_config.json)"

OPTIONS: dict[str, dict[str, tuple[Row, ...]]] = {
    "ask": {
        "": (("question", "QUESTION+", str, "the question; - or nothing reads stdin"), SYSTEM),
        "model": MODEL,
        "thinking": THINKING,
        SAMPLED: SAMPLING,
        "output (the answer goes to stdout, all else to stderr)": (
            ("--votes", "K", between(1, 64), "sample K answers and show the vote"),
            ("--logprobs", "K", between(0, 20), "with --json: K alternatives a token"),
            STATS,
            JSON,
            ("--jsonl", "", True, "print events as they come, one a line"),
        ),
    },
    "chat": {
        "": (SYSTEM, ("--no-history", "", True, "do not keep typed lines"), STATS),
        "model": MODEL,
        "thinking": THINKING,
        SAMPLED: SAMPLING,
    },
    "pull": {
        "": (
            ("name", "OWNER/NAME", str, "for example Qwen/Qwen3-0.6B"),
            ("--revision", "REV", str, "branch, tag or commit (default: main)"),
            JSON,
        )
    },
    "ls": {"": (JSON, ("--names", "", True, "print the names only"))},
    "show": {"": (("name", "NAME", str, "a model or a folder"), JSON)},
    "rm": {"": (("name", "OWNER/NAME", str, "a pulled model"), ("--yes", "", True, "do not ask"))},
    "doctor": {"": (JSON,)},
    "bench": {
        "": (("what", "WHAT", ("decode", "prefill", "batch"), "decode, prefill or batch"), JSON),
        "work": (
            ("--shape", "NAME", str, "a shape, a model or a folder (default: nano)"),
            *MODEL[1:],
            ("--batch", "B", between(1, 512), "sequences (default: 1; batch: 32)"),
            ("--prompt", "P", between(1), "prompt tokens (default: 32; prefill: 512)"),
            ("--tokens", "T", between(1), "tokens to decode a sequence (default: 64)"),
            ("--runs", "R", between(1, 100), "runs, of which the median counts (default: 3)"),
        ),
    },
    "train": {
        "": (
            ("recipe", "RECIPE+", str, "TOML files, later ones win"),
            ("--set", "KEY=VALUE+", str, "override a dotted key, e.g. stage.seed=1; may repeat"),
            ("--run-dir", "FOLDER", str, "of a new run: config, metrics, checkpoints and model"),
            ("--resume", "RUN", str, "go on with the run in this folder"),
            ("--from-step", "N", between(0), "with --resume: from this checkpoint"),
            ("--dry-run", "", True, "print the resolved recipe and stop"),
        )
    },
    "eval": {
        "": (JSON, ("--examples", "", True, "print some answers that are wrong")),
        "model": MODEL,
        "problems (held-out ones, answered greedily)": (
            ("--family", "NAME+", str, "a task family, or all; may repeat (default: nano's own)"),
            (
                "--band",
                "BAND+",
                ("S", "R", "O"),
                "S shown (default), R rewarded, O other; may repeat",
            ),
            ("--count", "N", between(1), "problems a family (default: 500)"),
            ("--max-tokens", "N", between(1), "most tokens of a turn (default: 1024)"),
        ),
        "samples (beside the greedy answers)": (
            ("--samples", "K", between(0, 1024), "answers to each problem (default: 0)"),
            ("--temperature", "X", between(0.001, 100, float), "of the samples (default: 1)"),
            ("--seed", "N", between(0, 2**63 - 1), "of the samples (default: 0)"),
            ("--against", "NAME", str, "a second model, on the same problems, with paired tests"),
        ),
        "cluster (pip install 'ponder[cluster]')": (
            ("--workers", "N", between(0, 4096), "Ray workers that answer (default: 0, none)"),
            ("--ray", "ADDRESS", str, "a Ray cluster that runs (default: one on this machine)"),
        ),
    },
    "report": {
        "": (
            ("run", "RUN", str, "folder of a run, going on or ended"),
            (
                "--output",
                "FILE",
                str,
                "where the page goes (default: RUN/report.html), or the folder",
            ),
            ("--tensorboard", "", True, "write TensorBoard's files instead, into RUN/tensorboard"),
        )
    },
    "completion": {"": (("shell", "SHELL", ("bash", "zsh", "fish"), "bash, zsh or fish"),)},
}
"""Command → its groups of options; the group without a title stands first."""

DEFAULTS: dict[str, Any] = {
    "weights": "auto",
    "revision": "main",
    "shape": "nano",
    "runs": 3,
    "count": 500,
    "samples": 0,
}


def build_parser() -> Parser:
    """The whole command."""
    parser = Parser(
        prog="ponder",
        usage="ponder COMMAND [OPTIONS] ...",
        description="Models that think before they answer, on your own machine.",
        epilog='A question in quotes needs no command: ponder "What is 17 * 23?"\n\n' + EXIT_HELP,
        formatter_class=Format,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", prog="ponder"
    )
    parser.commands = {}
    for name, (_, line) in COMMANDS.items():
        words = [_shown(row) for row in OPTIONS[name][""] if row[0][:1] != "-"]
        parser.commands[name] = commands.add_parser(
            name,
            help=line,
            description=line[0].upper() + line[1:] + ".",
            usage=" ".join(["ponder", name, "[OPTIONS]", *words]),
            formatter_class=Format,
            allow_abbrev=False,
        )
        _fill(parser.commands[name], OPTIONS[name])
    return parser


def _shown(row: Row) -> str:
    return f"[{row[1][:-1]} ...]" if row[1].endswith("+") else row[1]


def _fill(parser: argparse.ArgumentParser, groups: dict[str, tuple[Row, ...]]) -> None:
    for title, rows in groups.items():
        add = parser.add_argument_group(title).add_argument if title else parser.add_argument
        for name, metavar, reader, text in rows:
            is_flag, repeats = name.startswith("-"), metavar.endswith("+")
            more: dict[str, Any] = {"help": text}
            if not metavar:
                dest = name.removeprefix("--no-") if reader is False else name[2:]
                more |= {"action": "store_const", "const": reader, "dest": dest.replace("-", "_")}
            else:
                more["metavar"] = metavar.removesuffix("+")
                more["default"] = DEFAULTS.get(name.lstrip("-").replace("-", "_"))
                more["choices" if isinstance(reader, tuple) else "type"] = reader
            if repeats:
                more |= {"action": "append"} if is_flag else {"nargs": "*"}
            add(name, **more)
