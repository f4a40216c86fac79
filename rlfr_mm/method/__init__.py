"""The paper (arXiv 2510.10201): latents, flow field, velocity deviation, flow reward. Start at flow_reward.py."""
