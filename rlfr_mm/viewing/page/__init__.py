"""Self-contained HTML pages: one file, no network, everything escaped. `html` writes them, `charts` draws for them."""
