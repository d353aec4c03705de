"""cli/completion: completion scripts for bash, zsh and fish, made from the parser itself."""

from __future__ import annotations

import argparse
import shlex

from ponder.cli.parser import COMMANDS, build_parser
from ponder.core.environment import Environment
from ponder.core.errors import EXIT_CODES

NAMES = "$(ponder ls --names 2>/dev/null)"


def run(options: argparse.Namespace, environment: Environment) -> int:
    """`ponder completion`."""
    print({"bash": bash, "zsh": zsh, "fish": fish}[options.shell]())
    return EXIT_CODES["ok"]


def _flags(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings]


def _values(action: argparse.Action) -> str:
    """What may stand at `action`: its choices, model names, or nothing (files)."""
    if action.choices is not None:
        return " ".join(str(choice) for choice in action.choices)
    return NAMES if action.dest in ("model", "name", "shape") else ""


def bash() -> str:
    """For `eval "$(ponder completion bash)"`."""
    flag_cases, word_cases, value_cases = list[str](), list[str](), set[str]()
    for name, parser in build_parser().commands.items():
        flags = " ".join(flag for action in _flags(parser) for flag in action.option_strings)
        flag_cases.append(f'    {name}) flags="{flags}" ;;')
        words = [_values(action) for action in parser._actions if not action.option_strings]
        if any(words):
            word_cases.append(f'    {name}) words="{" ".join(words)}" ;;')
        for action in _flags(parser):
            if action.nargs != 0 and _values(action):
                names = "|".join(action.option_strings)
                value_cases.add(
                    f'    {names}) COMPREPLY=($(compgen -W "{_values(action)}" -- "$word")); return ;;'
                )
    return "\n".join(
        [
            "_ponder() {",
            '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" flags= words=',
            f'  if [ "$COMP_CWORD" = 1 ]; then COMPREPLY=($(compgen -W "{" ".join(COMMANDS)}" -- "$word")); return; fi',
            '  case "$before" in',
            *sorted(value_cases),
            "  esac",
            '  case "${COMP_WORDS[1]}" in',
            *flag_cases,
            "  esac",
            '  case "${COMP_WORDS[1]}" in',
            *word_cases,
            "  esac",
            '  case "$word" in',
            '    -*) COMPREPLY=($(compgen -W "$flags" -- "$word")) ;;',
            '    *) COMPREPLY=($(compgen -W "$words" -- "$word") $(compgen -f -- "$word")) ;;',
            "  esac",
            "}",
            "complete -o filenames -F _ponder ponder",
        ]
    )


def zsh() -> str:
    """For `source <(ponder completion zsh)`; bash's function serves both shells."""
    return "\n".join(["autoload -U +X compinit bashcompinit", "compinit", "bashcompinit", bash()])


def fish() -> str:
    """For `ponder completion fish | source`."""
    lines = ["complete -c ponder -e"]
    for name, (_, text) in COMMANDS.items():
        quoted = shlex.quote(text)
        lines.append(f"complete -c ponder -f -n __fish_use_subcommand -a {name} -d {quoted}")
    for name, parser in build_parser().commands.items():
        seen = f'-n "__fish_seen_subcommand_from {name}"'
        for action in parser._actions:
            values = _values(action).replace("$(", "(")
            choices = f' -x -a "{values}"' if values else (" -r" if action.nargs != 0 else "")
            text = shlex.quote((action.help or "").replace("%%", "%"))
            if action.option_strings:
                forms = " ".join(
                    f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
                    for flag in action.option_strings
                )
                lines.append(f"complete -c ponder {seen} {forms}{choices} -d {text}")
            elif values:
                lines.append(f'complete -c ponder {seen} -f -a "{values}"')
    return "\n".join(lines)
