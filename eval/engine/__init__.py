"""What the evaluation commands share: back ends, plans, rows on disk, importers, published scores."""
