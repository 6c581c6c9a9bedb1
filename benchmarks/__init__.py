"""`make bench`: us beside hand-written SQL and the way others do it, on the same data in one run, as ratios."""
