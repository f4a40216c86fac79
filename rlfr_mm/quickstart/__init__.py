"""The embedded default: a world of drawn visual-maths problems and a tiny real Qwen2.5-VL that answers them."""
