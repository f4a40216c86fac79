"""Methods times seeds: the grid, the runner, the records, and the tables and curves made of them."""
