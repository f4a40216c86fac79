"""The benchmarks as lmms-eval tasks named rlfr_*: one folder per benchmark, listed in `registry`."""
