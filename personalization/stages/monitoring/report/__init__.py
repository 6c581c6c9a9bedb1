"""The report site: one self-contained folder of HTML a day, readable without JavaScript."""
