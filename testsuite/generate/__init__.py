"""Random closures: a seed chooses libraries and a program (model), which become C sources (source) and files (make),
and go through everything that a prelinked program goes through (life)."""
