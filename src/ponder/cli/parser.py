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
    "completion": ("ponder.cli.completion:run", "print a completion script for a shell"),
}
"""Command → the function that runs it, resolved when it is called, and its line of help."""

SHELLS = ("bash", "zsh", "fish")
WEIGHTS = ("auto", "fp32", "bf16", "int8")

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
        arguments, fill = _FILLERS[name]
        parser.commands[name] = sub = commands.add_parser(
            name,
            help=line,
            description=line[0].upper() + line[1:] + ".",
            usage=f"ponder {name} [OPTIONS] {arguments}".rstrip(),
            formatter_class=Format,
            allow_abbrev=False,
        )
        fill(sub)
    return parser


def _model_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", metavar="NAME", help="nano, a pulled owner/name, or a folder (default: nano)"
    )
    _speed_options(group.add_argument)


def _speed_options(add: Callable[..., object]) -> None:
    add("--weights", choices=WEIGHTS, default="auto", help="format of the weights (default: auto)")
    add("--threads", type=between(1, 1024), metavar="N", help="threads (default: one a core)")


def _thinking_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("thinking")
    group.add_argument("--think", action="store_true", default=None, help="think first (default)")
    group.add_argument(
        "--no-think", dest="think", action="store_false", help="answer without thinking"
    )
    group.add_argument(
        "--budget", type=between(0), metavar="N", help="most tokens of thinking (default: no limit)"
    )
    group.add_argument("--hide-thinking", action="store_true", help="do not print the thinking")


def _sampling_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "sampling", "Defaults come from the model's generation_config.json."
    )

    def add(flag: str, reader: Callable[[str], Any], metavar: str, text: str, **more: Any) -> None:
        group.add_argument(flag, type=reader, metavar=metavar, help=text, **more)

    add("--temperature", between(0, 100, float), "X", "0 takes the likeliest token")
    add("--top-k", between(0), "N", "keep the N likeliest tokens; 0 keeps all")
    add("--top-p", between(0, 1, float), "X", "keep the likeliest tokens that hold X of the mass")
    add("--min-p", between(0, 1, float), "X", "drop tokens below X of the likeliest one's mass")
    add("--presence-penalty", between(-2, 2, float), "X", "lower tokens seen in the output")
    add("--frequency-penalty", between(-2, 2, float), "X", "lower tokens by how often seen")
    add("--repetition-penalty", between(0.01, 10, float), "X", "divide scores of tokens seen")
    add(
        "--logit-bias",
        id_bias,
        "ID:BIAS",
        "add BIAS to a token's score; may repeat",
        action="append",
    )
    add("--seed", between(0, 2**63 - 1), "N", "seed of the sampling")
    add("--max-tokens", between(1), "N", "most tokens of output, thinking included")
    add("--stop", str, "TEXT", "end the answer before TEXT; may repeat", action="append")
    add("--stop-id", between(0), "ID", "end the answer at a token; may repeat", action="append")
    group.add_argument(
        "--ignore-end-ids",
        action="store_true",
        default=None,
        help="go on past the model's end token",
    )


def _fill_ask(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "question", nargs="*", metavar="QUESTION", help="the question; - or nothing reads stdin"
    )
    _model_options(parser)
    parser.add_argument("--system", metavar="TEXT", help="system message")
    _thinking_options(parser)
    _sampling_options(parser)
    group = parser.add_argument_group("output", "The answer goes to stdout, all else to stderr.")
    group.add_argument(
        "--votes", type=between(1, 64), metavar="K", help="sample K answers and show the vote"
    )
    group.add_argument(
        "--logprobs", type=between(0, 20), metavar="K", help="with --json: K alternatives a token"
    )
    group.add_argument("--stats", action="store_true", help="print token counts and speed")
    form = group.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--jsonl", action="store_true", help="print events as they come, one a line")


def _fill_chat(parser: argparse.ArgumentParser) -> None:
    _model_options(parser)
    parser.add_argument("--system", metavar="TEXT", help="system message")
    parser.add_argument("--no-history", action="store_true", help="do not keep typed lines")
    parser.add_argument("--stats", action="store_true", help="print token counts and speed")
    _thinking_options(parser)
    _sampling_options(parser)


def _json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _fill_pull(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="OWNER/NAME", help="for example Qwen/Qwen3-0.6B")
    parser.add_argument("--revision", default="main", metavar="REV", help="branch, tag or commit")
    _json_option(parser)


def _fill_ls(parser: argparse.ArgumentParser) -> None:
    _json_option(parser)
    parser.add_argument("--names", action="store_true", help="print the names only")


def _fill_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a model or a folder")
    _json_option(parser)


def _fill_rm(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="OWNER/NAME", help="a pulled model")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _fill_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("decode", "prefill", "batch"), help="what to measure")
    group = parser.add_argument_group("work")
    group.add_argument(
        "--shape",
        default="nano",
        metavar="NAME",
        help="a shape, a model or a folder (default: nano)",
    )
    _speed_options(group.add_argument)
    group.add_argument(
        "--batch", type=between(1, 512), metavar="B", help="sequences (default: 1; batch: 32)"
    )
    group.add_argument(
        "--prompt", type=between(1), metavar="P", help="prompt tokens (default: 32; prefill: 512)"
    )
    group.add_argument(
        "--tokens", type=between(1), metavar="T", help="tokens to decode a sequence (default: 64)"
    )
    group.add_argument(
        "--runs", type=between(1, 100), default=3, metavar="R", help="runs; the median counts"
    )
    _json_option(parser)


def _fill_train(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("recipe", nargs="*", metavar="RECIPE", help="TOML files, later ones win")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a dotted key, e.g. stage.seed=1; may repeat",
    )
    add("--run-dir", metavar="FOLDER", help="folder of config, metrics, checkpoints and model")
    add("--resume", action="store_true", help="go on with the run in --run-dir")
    add("--from-step", type=between(0), metavar="N", help="with --resume: from this checkpoint")
    add("--dry-run", action="store_true", help="print the resolved recipe and stop")


def _fill_eval(parser: argparse.ArgumentParser) -> None:
    _model_options(parser)
    group = parser.add_argument_group("problems", "Held-out ones, answered greedily.")
    group.add_argument(
        "--family", action="append", metavar="NAME", help="a task family; may repeat (default: all)"
    )
    group.add_argument(
        "--band", choices=("S", "R", "O"), default="S", help="shown, rewarded or other (default: S)"
    )
    group.add_argument(
        "--count",
        type=between(1),
        default=500,
        metavar="N",
        help="problems a family (default: 500)",
    )
    group.add_argument(
        "--max-tokens", type=between(1), default=1024, metavar="N", help="default: 1024"
    )
    group.add_argument("--examples", action="store_true", help="print some answers that are wrong")
    _json_option(parser)


def _fill_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="your shell")


_FILLERS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "ask": ("[QUESTION ...]", _fill_ask),
    "chat": ("", _fill_chat),
    "pull": ("OWNER/NAME", _fill_pull),
    "ls": ("", _fill_ls),
    "show": ("NAME", _fill_show),
    "rm": ("OWNER/NAME", _fill_rm),
    "doctor": ("", _json_option),
    "bench": ("{decode,prefill,batch}", _fill_bench),
    "train": ("[RECIPE ...]", _fill_train),
    "eval": ("", _fill_eval),
    "completion": ("{bash,zsh,fish}", _fill_completion),
}
