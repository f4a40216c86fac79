"""RLFR: reinforcement learning with verifiable rewards and a dense flow reward (arXiv 2510.10201)."""

__version__ = "0.1.0"
