"""Small reinforcement specs as plain data."""

from __future__ import annotations

from typing import Any

AGENTS: dict[str, dict[str, Any]] = {
    "dqn": {
        "batch_size": 16, "buffer_size": 700, "learning_starts": 128, "train_freq": 32, "gradient_steps": 8,
        "target_update_interval": 100, "double_q": True, "exploration_fraction": 0.5,
    },
    "ppo": {"n_envs": 3, "n_steps": 100, "batch_size": 75, "n_epochs": 3, "clip_range_schedule": "linear"},
    "reinforce": {"n_episodes": 3, "baseline": "learned"},
}  # fmt: skip


def job_of(agent: str, environment: str = "CartPole-v1", actions: int = 2, **options: Any) -> dict[str, Any]:
    """A small job of that agent; `options` are the agent's."""
    layers = [{"type": "dense", "units": 16, "activation": "tanh"}, {"type": "dense", "units": actions}]
    return {
        "task": "reinforcement",
        "environment": {"name": environment},
        "agent": {"type": agent, **AGENTS[agent], "eval_freq": 500, "n_eval_episodes": 3} | options,
        "network": {"layers": layers},
        "training": {
            "total_timesteps": 1500,
            "optimizer": {"type": "adam", "learning_rate": 0.003},
            "learning_rate_schedule": {"type": "polynomial_decay"},
            "global_clipnorm": 1.0,
            "seed": 5,
        },
    }
