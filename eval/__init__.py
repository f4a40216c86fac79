"""Resumable evaluation runs, their statistics and their exports; each command is `python -m eval.<name>`."""
