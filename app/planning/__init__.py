"""What prices follow from, as dated data; the repricer, the return loop and the planner that work on it."""
