"""One file per page; each is a function that draws it."""
