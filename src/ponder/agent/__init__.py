"""agent: the one episode loop, over token ids: a model's turns, its tool calls, their results.

Main noun: `Episode`. Main verb: `episode_steps`; `run_episode` and `run_episodes` drive it on a token engine.
May open: core, sandbox, store.
"""

from ponder.agent.episode import Episode, Reply, Segment
from ponder.agent.loop import Limits, episode_steps, run_episode, run_episodes

__all__ = [
    "Episode",
    "Limits",
    "Reply",
    "Segment",
    "episode_steps",
    "run_episode",
    "run_episodes",
]
