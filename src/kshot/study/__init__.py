"""Studies: grids of data, backbones, strategies and seeds, run, foretold and summarised."""
