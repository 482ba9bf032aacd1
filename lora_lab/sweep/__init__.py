"""From a grid file to trained runs: the grid language, the plan, the check of every run, and their execution."""
