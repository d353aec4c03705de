"""train/rl/health: alarms of a run, and the pre-flight that refuses one which cannot learn. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ponder.train.config import HealthConfig
from ponder.train.rl.algorithms import Algorithm, is_flat
from ponder.train.rl.answers import Group

_START_STEPS = 5
"""Values whose mean is what later entropies are compared with."""
_WINDOW = 10


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something a person should look at."""

    name: str
    value: float
    advice: str


@dataclass(slots=True)
class _State:
    first_entropies: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    """`entropy`, `entropy_<family>` → their first values."""
    reward: float | None = None
    best: float = 0.0
    recent: list[float] = field(default_factory=list[float])
    raised: list[str] = field(default_factory=list[str])


class Health:
    """Watches the metrics; an alarm is given once, and again only after it has gone."""

    def __init__(self, config: HealthConfig) -> None:
        self._config = config
        self._state = _State()

    def check(self, record: Mapping[str, Any]) -> list[Alarm]:
        """The alarms that this step's record newly raises."""
        found = [*self._shares(record), *self._entropy(record), *self._reward(record)]
        fresh = [alarm for alarm in found if alarm.name not in self._state.raised]
        self._state.raised = [alarm.name for alarm in found]
        return fresh

    def state(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return asdict(self._state)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to such a state."""
        self._state = _State(**state)

    def _shares(self, record: Mapping[str, Any]) -> list[Alarm]:
        config = self._config
        table = (
            ("truncated", config.truncated, "raise sampling.max_tokens, or shorten the solutions"),
            ("flat_groups", config.flat, "draw problems nearer the edge: stage.problems, pools"),
            (
                "ratio_max",
                config.ratio,
                "far from the sampling weights: fewer updates, a smaller step",
            ),
            ("gap", config.gap, "sampler and trainer disagree: check kernels, or importance_cap"),
        )
        return [
            Alarm(name, record[name], advice)
            for name, most, advice in table
            if record.get(name, 0.0) > most
        ]

    def _entropy(self, record: Mapping[str, Any]) -> list[Alarm]:
        found: list[Alarm] = []
        for name, value in record.items():
            if name.startswith("entropy"):
                found += self._entropy_of(name, value)
        return found

    def _entropy_of(self, name: str, value: float) -> list[Alarm]:
        config, first = self._config, self._state.first_entropies.setdefault(name, [])
        if len(first) < _START_STEPS:
            first.append(value)
            return []
        share = value * len(first) / max(sum(first), 1e-9)
        if share < config.entropy_low:
            advice = "collapse: a smaller step, a higher clip_high, or more kinds of problems"
            return [Alarm(f"{name}_low", share, advice)]
        if share > config.entropy_high:
            advice = "explosion: a smaller step, or a lower clip_high"
            return [Alarm(f"{name}_high", share, advice)]
        return []

    def _reward(self, record: Mapping[str, Any]) -> list[Alarm]:
        state, config = self._state, self._config
        reward = record.get("reward")
        if reward is None:
            return []
        smooth = reward if state.reward is None else 0.8 * state.reward + 0.2 * reward
        state.reward, state.best = smooth, max(state.best, smooth)
        state.recent = [*state.recent[-_WINDOW + 1 :], smooth]
        if smooth < state.best - config.reward_drop:
            advice = "go back with --from-step to before the fall, with a smaller step"
            return [Alarm("reward_drop", smooth, advice)]
        if smooth > min(state.recent) + config.reward_jump:
            return [Alarm("reward_jump", smooth, "read the samples: is the verifier being fooled?")]
        return []


def find_faults(
    groups: Sequence[Group], algorithm: Algorithm, config: HealthConfig
) -> list[tuple[str, str]]:
    """Why a run that begins like this cannot learn, each with what to change; empty when it can."""
    answers = [answer for group in groups for answer in group.answers]
    count = len(answers)
    truncated = sum(answer.is_truncated for answer in answers)
    right = sum(answer.is_right for answer in answers)
    undecided = sum(answer.verdict == "undecided" for answer in answers)
    flat = sum(is_flat(algorithm, group.answers) for group in groups)
    faults: list[tuple[str, str]] = []
    if not any(answer.finish == "stop" for answer in answers):
        faults.append(
            (f"none of {count} answers ended by itself", "start from a fine-tuned chat model")
        )
    elif truncated > config.truncated * count:
        faults.append(
            (f"{truncated} of {count} answers were cut by a limit", "raise sampling.max_tokens")
        )
    if undecided > count / 2:
        faults.append((f"{undecided} of {count} answers could not be judged", "check the verifier"))
    if not right:
        advice = "take easier problems (band S), or fine-tune longer first"
        faults.append((f"none of {count} answers was right", advice))
    elif flat > config.flat * len(groups):
        advice = "take problems between, harder or easier, or more samples a group"
        faults.append(
            (f"{flat} of {len(groups)} groups had nothing to tell apart ({right} right)", advice)
        )
    return faults
