"""Self-contained HTML pages: `html` writes them, `charts` draws for them."""
