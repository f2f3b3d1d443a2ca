"""Reinforcement learning: environments, agents that learn to act in them, and what they leave behind."""
