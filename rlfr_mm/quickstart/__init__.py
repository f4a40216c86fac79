"""The embedded default: a drawn visual-maths world and a tiny real Qwen2.5-VL."""
