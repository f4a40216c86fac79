"""lmms-eval task plugins, all named `rlfr_*`: `lmms-eval --include_path tasks --tasks rlfr_math500`."""
