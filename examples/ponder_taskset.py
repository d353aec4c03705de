"""Ponder's problems as a taskset of the package `verifiers` (0.4): `PYTHONPATH=examples eval ponder-taskset`.

A problem that the verifier cannot decide is an error of the task, so its trace carries no reward.
"""

from collections.abc import Iterable

import verifiers.v1 as vf

from ponder.train.exports import COLUMN, judged, problem_of, reward_of, rows


class PonderConfig(vf.TasksetConfig):
    family: str = "countdown"
    band: str = "R"
    count: int = 1000
    seed: int = 0


class PonderData(vf.TaskData):
    ponder_problem: str


class PonderTask(vf.Task[PonderData]):
    @vf.reward
    async def right(self, trace: vf.Trace) -> float:
        verdict = judged(problem_of(self.data.ponder_problem), trace.last_reply)
        trace.info["reason"] = verdict.reason
        reward = reward_of(verdict)
        if reward is None:
            raise vf.TaskError(f"could not decide: {verdict.reason}")
        return reward


class PonderTaskset(vf.Taskset[PonderTask, PonderConfig]):
    def load(self) -> Iterable[PonderTask]:
        config = self.config
        for row in rows(config.family, config.band, config.count, config.seed, chat=False):
            data = PonderData(prompt=row["prompt"], ponder_problem=row[COLUMN])
            yield PonderTask(data, config.task)


__all__ = ["PonderTaskset"]
