"""Methods x seeds: the grid, the runner, the records, and the comparisons, tables and curves made from them."""
