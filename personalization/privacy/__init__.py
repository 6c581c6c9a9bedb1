"""What the law and decency ask for: show everything held about a person, erase it truly, and prove both.

Above the stages, as `personalization.jobs` is: it knows every place where personal data can be.
"""
